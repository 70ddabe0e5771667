"""The style of a report's page for light and dark mode, for print, and for narrow phones; `box.py` adds the rules of its boxes."""

CSS = """
:root { color-scheme: light dark; --paper: #fdfdfc; --card: #ffffff; --ink: #1d232b; --soft: #5b6572; --line: #e2e5e9; --accent: #0b62a4;
  --shade: rgb(29 35 43 / .22); }
@media screen and (prefers-color-scheme: dark) {
  :root { --paper: #12151a; --card: #1a1e25; --ink: #e4e8ee; --soft: #9aa5b4; --line: #2c323c; --accent: #6cb6f0; --shade: rgb(0 0 0 / .65); }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: clamp(1.5rem, 5vw, 4rem) clamp(1rem, 4vw, 2rem); overflow-wrap: break-word; }
header { border-bottom: 1px solid var(--line); padding-bottom: 1.25rem; margin-bottom: 2rem; }
p { max-width: 42rem; margin: .5rem 0; }
h1 { font-size: clamp(1.6rem, 4.5vw, 2.3rem); line-height: 1.2; letter-spacing: -.015em; margin: 0 0 .75rem; text-wrap: balance; }
h2 { font-size: 1.35rem; line-height: 1.3; margin: 3.5rem 0 .75rem; }
h3 { font-size: 1.05rem; line-height: 1.4; margin: 2rem 0 .6rem; }
h4, h5, h6 { font-size: .95rem; color: var(--soft); margin: 1.75rem 0 .5rem; }
a { color: var(--accent); }
nav { margin-top: 1.75rem; font-size: .95rem; }
nav ol { list-style: none; display: flex; flex-wrap: wrap; gap: .3rem 1.4rem; margin: 0; padding: 0; }
nav li:has(> ol) { flex-basis: 100%; }
nav li > ol { margin: .15rem 0 .4rem; padding-left: 1.1rem; font-size: .95em; }
nav a { text-decoration: none; display: inline-block; padding: .15rem 0; }
nav a:hover { text-decoration: underline; }
.metrics { display: grid; grid-template-columns: repeat(auto-fill, minmax(14.5rem, 1fr)); gap: .75rem; margin: 1rem 0; }
.metrics div { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .85rem 1rem; }
.metrics dt { font-size: .85rem; line-height: 1.4; font-weight: 600; color: var(--soft); }
.metrics dd { margin: 0; }
.metrics .value { font-size: 1.75rem; line-height: 1.25; font-weight: 650; font-variant-numeric: tabular-nums; margin: .2rem 0 .3rem; }
section .metrics .value { font-size: 1.4rem; }
.unit { display: inline-block; font-size: .85rem; line-height: 1.3; font-weight: 400; color: var(--soft); }
.metrics .detail { font-size: .8rem; line-height: 1.5; color: var(--soft); }
.box { container-type: inline-size; }
.hint { display: none; font-size: .8rem; color: var(--soft); margin: .2rem 0; max-width: none; text-align: right; }
/* Shades at the ends that lie out of sight; at an end its own cover, which moves with the content, hides the shade. */
.scroll { --ground: var(--paper); overflow-x: auto; background:
  linear-gradient(to right, var(--ground) 40%, transparent) left / 2.5rem 100% no-repeat local,
  linear-gradient(to left, var(--ground) 40%, transparent) right / 2.5rem 100% no-repeat local,
  linear-gradient(to right, var(--shade), transparent) left / .8rem 100% no-repeat scroll,
  linear-gradient(to left, var(--shade), transparent) right / .8rem 100% no-repeat scroll, var(--ground); }
.scroll:focus-visible, summary:focus-visible, nav a:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
figure { margin: .75rem 0 0; }
figure .scroll { --ground: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: 12px; }
.picture { margin: 0 auto; }
.picture svg { display: block; width: 100%; height: auto; }
figcaption { font-size: .9rem; color: var(--soft); margin-top: .6rem; max-width: 42rem; }
.table { margin: .75rem 0 1.5rem; }
table { border-collapse: collapse; min-width: 100%; font-size: 14px; line-height: 1.5; font-variant-numeric: tabular-nums; }
th, td { padding: .45rem 10px; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
thead th { color: var(--soft); font-weight: 600; vertical-align: bottom; border-bottom-width: 2px; }
th:first-child { padding-left: 0; }
tbody th { font-weight: 500; }
.whole { white-space: nowrap; }
.number { text-align: right; }
td.number { white-space: nowrap; }
.facts { margin: 0; font-size: .92rem; }
.facts div { display: grid; grid-template-columns: minmax(9rem, 18rem) 1fr; gap: 0 1rem;
  padding: .3rem 0; border-bottom: 1px solid var(--line); }
.facts dt { color: var(--soft); overflow-wrap: anywhere; }
.facts dd { margin: 0; overflow-wrap: anywhere; font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: .88em; }
details { margin-top: .75rem; }
summary { cursor: pointer; color: var(--accent); font-weight: 600; padding: .25rem 0; }
@media (max-width: 40rem) {
  h2 { margin-top: 2.75rem; }
  .metrics { grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); gap: .5rem; }
  .metrics div { padding: .7rem .8rem; }
  .metrics .value { font-size: 1.4rem; }
  .facts div { grid-template-columns: 1fr; }
}
/* Paper does not scroll: what is too wide gets smaller, and long words break. */
@media print {
  :root { color-scheme: light; }
  nav { display: none; }
  .box .hint { display: none !important; }
  .metrics div, figure, tr { break-inside: avoid; }
  h2, h3, h4, h5, h6 { break-after: avoid; }
  main { max-width: none; padding: 0; }
  .metrics { grid-template-columns: repeat(3, 1fr); }
  .scroll { overflow: visible; background: none; }
  .picture { max-width: 100%; }
  .box table { min-width: 100% !important; font-size: 12px; }
  th, td { padding: .3rem 5px; overflow-wrap: anywhere; }
  td.number { white-space: normal; }
  .box .named th:first-child { position: static; }
  details::details-content { content-visibility: visible; height: auto; }
}
"""
