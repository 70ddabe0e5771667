#pragma once
// Attention mass: sums of softmax(q k^T) for a block of queries, without the matrix. No torch here: the sanitizers build it alone.
//
// Letters as in pydisp/ops/attention_mass.py: H query heads, Hk key heads, G = H / Hk, Tq queries, Tk keys, D head dimension, C groups.
// A lane is one query of one head: for the G heads that share a key head, lane = query * G + head, so that a block of lanes spans few
// positions and decoding one token still fills lanes. Query i stands at position Tk - Tq + i.

#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "element.h"

namespace pydisp {

constexpr int kKeyBlock = 64;  // keys scored at a time
constexpr int kFewQueryRows = 16;   // with so many queries per key head or fewer, attention_key_mass does not put keys into lanes

// One batch row's keys without the padding, and for each block of kKeyBlock of them the members of each group: entry
// member[i], first[block * C + c] <= i < first[block * C + c + 1], is the place in the block of a key that is in group c.
struct Keys {
  const int32_t* position;  // (count,) ascending
  int64_t count;
  const int64_t* first;
  const uint8_t* member;
};

// Which keys a query sees, and what its logit is: softcap * tanh(scale * q k / softcap), or scale * q k where softcap is 0.
struct Rule {
  bool causal;
  int64_t window;  // 0: none; the query at t sees positions after t - window
  float scale, softcap;
};

template <class T> struct MassJob {
  const T* q;  // of the first of the G heads
  int64_t q_head_stride, q_token_stride;
  const T* k;  // of their key head
  int64_t k_token_stride;
  int64_t G, Tq, Tk, D, C;
  Rule rule;
  Keys keys;
  int64_t first_lane, lanes;   // lanes <= the table's
  int64_t first_key, end_key;  // a run of places in keys
  // Results for the run: the largest logit and, with p = exp(logit - maximum), the sums of p, of p * (logit - maximum), of each group.
  float *maximum, *total, *weighted;  // (the table's lanes,)
  float* mass;                        // (C, the table's lanes)
  float* room;                        // room_floats
};

template <class T> struct KeyMassJob {
  const T* q;  // of the first of the G heads
  int64_t q_head_stride, q_token_stride;
  const T* k;  // of their key head
  int64_t k_token_stride;
  int64_t G, Tq, Tk, D;
  Rule rule;
  const float* lse;      // (G, Tq)
  const int32_t* query;  // (queries,) ascending: the queries that count
  int64_t queries;
  const int32_t* key;  // (keys,) ascending positions; keys <= the table's lanes where G * Tq > kFewQueryRows
  int64_t keys;
  float* mass;  // (G, Tk), zeros on entry; masses are added at the keys' positions
  float* room;
};

struct AttentionMassKernels {
  int64_t lanes;
  void (*mass_float)(const MassJob<float>&);
  void (*mass_bfloat16)(const MassJob<BFloat16>&);
  void (*mass_half)(const MassJob<Half>&);
  void (*key_mass_float)(const KeyMassJob<float>&);
  void (*key_mass_bfloat16)(const KeyMassJob<BFloat16>&);
  void (*key_mass_half)(const KeyMassJob<Half>&);

  template <class T> void mass(const MassJob<T>& job) const {
    if constexpr (std::is_same_v<T, float>) mass_float(job);
    else if constexpr (std::is_same_v<T, BFloat16>) mass_bfloat16(job);
    else mass_half(job);
  }
  template <class T> void key_mass(const KeyMassJob<T>& job) const {
    if constexpr (std::is_same_v<T, float>) key_mass_float(job);
    else if constexpr (std::is_same_v<T, BFloat16>) key_mass_bfloat16(job);
    else key_mass_half(job);
  }
  // Floats of `room`: the lanes' side transposed, the block's logits with spare rows for the last tile, and its rows as floats. The forms
  // for few rows need less: up to kFewQueryRows rows in whole vectors, and 4 logits a key.
  int64_t room_floats(int64_t D) const { return lanes * (D + kKeyBlock + 8) + kKeyBlock * D; }
};

}  // namespace pydisp
