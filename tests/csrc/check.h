#pragma once
// What the programs of this folder share: a check that ends the program with a sentence, random numbers from a printed seed, and
// buffers of exactly the size asked for, so that the address sanitizer sees the first element behind their end, full of NaN, so that a
// result shows what was read before anybody wrote it.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <random>

#define CHECK(condition, ...)                                              \
  do {                                                                     \
    if (!(condition)) {                                                    \
      std::fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition); \
      std::fprintf(stderr, __VA_ARGS__);                                   \
      std::fputc('\n', stderr);                                            \
      std::exit(1);                                                        \
    }                                                                      \
  } while (false)

struct Random {
  std::mt19937_64 engine;
  explicit Random(int count, char** words) {
    const uint64_t seed = count > 1 ? std::strtoull(words[1], nullptr, 10) : std::random_device()();
    std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
    engine.seed(seed);
  }
  int64_t below(int64_t limit) { return static_cast<int64_t>(engine() % static_cast<uint64_t>(limit)); }
  float normal() { return std::normal_distribution<float>()(engine); }
};

// n values of T, none beyond them; n may be 0. All bits are set: a NaN in every float type, -1 in the whole numbers.
template <class T> std::unique_ptr<T[]> exactly(int64_t n) {
  std::unique_ptr<T[]> values(new T[n]);
  std::memset(values.get(), 0xff, n * sizeof(T));
  return values;
}
