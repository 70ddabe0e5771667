// What Chromium finds in the pages of the frames around this script; browser_page.py reads it.
const LEAST_PIXELS = 12, LEAST_CONTRAST = 4.5;
const MOST_CUT = 1;  // pixels of the box of a text: its letters leave more of it free
const INSIDE = 24;  // letters of a word that must not be broken
const AROUND_WORD = /\S+/g, WORD = /^[\p{L}\p{N}.,:;()'"%+-]+$/u;

function texts(page) {
  const walker = page.createTreeWalker(page.body, NodeFilter.SHOW_TEXT), found = [];
  while (walker.nextNode()) {
    const node = walker.currentNode, element = node.parentElement;
    if (node.data.trim() && !["STYLE", "SCRIPT"].includes(element.tagName.toUpperCase()) && element.checkVisibility()) found.push(node);
  }
  return found;
}

function pixels(node) {
  const element = node.parentElement, size = parseFloat(getComputedStyle(element).fontSize);
  if (!(element instanceof element.ownerDocument.defaultView.SVGElement)) return size;
  const matrix = element.closest("text").getScreenCTM();
  return size * Math.hypot(matrix.a, matrix.b);
}

function brokenWords(page, node) {
  const broken = [];
  for (const match of node.data.matchAll(AROUND_WORD)) {
    if (match[0].length > INSIDE || !WORD.test(match[0]) || /.-./.test(match[0])) continue;
    const range = page.createRange();
    range.setStart(node, match.index);
    range.setEnd(node, match.index + match[0].length);
    if (new Set([...range.getClientRects()].map(one => Math.round(one.top))).size > 1) broken.push(match[0]);
  }
  return broken;
}

function colour(text) {  // of a computed value: red, green and blue from 0 to 1, and opacity
  const parts = text.match(/[\d.]+/g);
  return parts ? [...parts.slice(0, 3).map(one => one / 255), parts.length > 3 ? +parts[3] : 1] : [0, 0, 0, 0];
}

function opacity(element) {
  let whole = 1;
  for (let one = element; one; one = one.parentElement) whole *= getComputedStyle(one).opacity;
  return whole;
}

function over(upper, lower) {
  return [0, 1, 2].map(i => upper[i] * upper[3] + lower[i] * (1 - upper[3])).concat(1);
}

function luminance(one) {
  const linear = one.slice(0, 3).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
}

function ground(element) {  // the colour behind an element of HTML
  for (let one = element; one; one = one.parentElement) {
    const found = colour(getComputedStyle(one).backgroundColor);
    if (found[3] === 1) return found;
  }
  return [1, 1, 1, 1];
}

function behind(page, text) {  // the colour behind a text of a picture; null where it is out of sight or over an image
  const box = text.getBoundingClientRect();
  const pile = page.elementsFromPoint(box.left + box.width / 2, box.top + box.height / 2);
  if (!pile.includes(text) && !pile.some(one => text.contains(one))) return null;
  const layers = [];
  for (const one of pile) {
    if (one.tagName === "image") return null;
    if (["path", "rect", "use", "circle"].includes(one.tagName)) {
      const style = getComputedStyle(one), fill = colour(style.fill);
      fill[3] *= style.fill === "none" ? 0 : style.fillOpacity * opacity(one);
      layers.push(fill);
    } else if (!(one instanceof page.defaultView.SVGElement)) {
      layers.push(ground(one));
      break;
    }
  }
  return layers.reverse().reduce((lower, upper) => over(upper, lower));
}

function contrast(page, node) {
  const element = node.parentElement, text = element.closest("text"), style = getComputedStyle(element);
  const under = text ? behind(page, text) : ground(element);
  if (under === null) return null;
  const ink = colour(text ? style.fill : style.color);
  ink[3] *= (text ? style.fillOpacity : 1) * opacity(element);
  const [low, high] = [luminance(over(ink, under)), luminance(under)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}

function cutPixels(text) {  // how far the box of a text of a picture is beyond the edges of the picture
  const picture = text.viewportElement.getBoundingClientRect(), box = text.getBoundingClientRect();
  return Math.max(picture.left - box.left, box.right - picture.right, picture.top - box.top, box.bottom - picture.bottom);
}

function measure(frame) {
  const page = frame.contentDocument, root = page.documentElement, nodes = texts(page);
  const named = (node, value) => [node.data.trim().slice(0, 60), value];
  const contrasts = nodes.map(node => named(node, contrast(page, node))).filter(one => one[1] !== null);
  return {
    wide: root.scrollWidth - frame.contentWindow.innerWidth,
    boxes: [...page.querySelectorAll(".scroll")].map(one => ({
      title: one.getAttribute("aria-label"),
      scrolls: one.scrollWidth > one.clientWidth + 1,
      hint: one.previousElementSibling.checkVisibility(),
    })),
    texts: nodes.length,
    small: nodes.map(node => named(node, pixels(node))).filter(one => one[1] < LEAST_PIXELS - 0.01),
    cut: [...page.querySelectorAll("svg text")].map(one => [one.textContent.trim().slice(0, 60), cutPixels(one)]).filter(one => one[1] > MOST_CUT),
    broken: nodes.filter(one => !one.parentElement.closest("svg")).flatMap(one => brokenWords(page, one)),
    looked: contrasts.length,
    faint: contrasts.filter(one => one[1] < LEAST_CONTRAST),
    dark: frame.contentWindow.matchMedia("(prefers-color-scheme: dark)").matches,
  };
}

addEventListener("load", () => {
  const found = {};
  for (const frame of document.querySelectorAll("iframe")) {
    frame.style.height = frame.contentDocument.documentElement.scrollHeight + "px";
    found[frame.id] = measure(frame);
  }
  const result = document.createElement("pre");
  result.id = "result";
  result.textContent = JSON.stringify(found);
  document.body.replaceChildren(result);
});
