"""How pages look."""

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --good: #1a7f37; --bad: #cf222e;
  --warn: #9a6700; --now: light-dark(#7aa7e0, #4f83c4); --was: light-dark(#24292f, #e6edf3);
  --note: light-dark(#59636e, #9da7b1) }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.05rem; margin: 2rem 0 .5rem }
h3 { font-size: .95rem; margin: 1rem 0 .35rem } table + table, .wide + .wide { margin-top: .75rem }
.pill { display: inline-block; padding: 0 .55rem; border-radius: .4rem; font-size: .8em;
  font-weight: 400; background: var(--soft) }
h1 .pill { font-size: .7em; font-weight: 600 }
.good, .bad, .drift { color: #fff } .good { background: var(--good) }
.bad, .drift { background: var(--bad) } .small, .usual { color: #fff; background: var(--warn) }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem;
  margin-top: 1rem }
.figures div { background: var(--soft); border-radius: .5rem; padding: .6rem .8rem }
.figures b { display: block; font-size: 1.25rem; font-variant-numeric: tabular-nums }
table { border-collapse: collapse } caption { text-align: left; color: var(--note);
  padding-bottom: .25rem }
th, td { text-align: left; padding: .2rem .9rem .2rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; font-variant-numeric: tabular-nums }
th { font-weight: 600 } th[scope=row] { font-weight: 400; overflow-wrap: break-word;
  max-width: 22rem } .facts { width: 100% } .facts th { color: var(--note); width: 12rem }
p, li, h1, .facts td { overflow-wrap: anywhere } td { overflow-wrap: break-word;
  max-width: 30rem } pre { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--soft);
  border-radius: .5rem; padding: .6rem .8rem } code, pre { font-size: .9em }
[hidden] { display: none !important } .search { position: sticky; top: 0; padding: .4rem 0;
  background: Canvas; z-index: 1 } .search input { font: inherit; padding: .25rem .5rem }
.note { color: var(--note) } .brief { float: right; color: var(--note) }
details { border: 1px solid var(--line); border-radius: .5rem; padding: .35rem .8rem;
  margin: .4rem 0 } details.data { border: 0; padding: 0 }
summary { cursor: pointer } details[open] > summary { margin-bottom: .6rem }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1.5rem }
.axis { display: flex; justify-content: space-between; margin: 0; font-size: .85em }
.wide { overflow-x: auto } svg { max-width: 100%; height: auto; font-size: 12px }
.wide svg { max-width: none } .wide .pill { white-space: nowrap }
svg text { fill: currentColor }
.now { fill: var(--now) } .was { fill: none; stroke: var(--was); stroke-width: 1.5 }
.grid { stroke: var(--line) } .guess { fill: none; stroke: var(--now); stroke-width: 2;
  stroke-dasharray: 5 3 }
.range { stroke: var(--was); stroke-width: 1.5 } .dot { fill: var(--was) }
.e0 { fill: #8883 } .e1 { fill: #e9c46a } .e2 { fill: #f4a261 } .e3 { fill: #e76f51 }
.e4 { fill: #b5173a } .line { fill: none; stroke: var(--now); stroke-width: 1.6 }
.limit { stroke: var(--was); stroke-dasharray: 3 3; opacity: .55 } .mark { stroke: var(--warn) }
.hot { fill: var(--bad) } .warm { fill: #bf8700 } .area { fill: var(--now); opacity: .35 }
.spark { display: block; min-width: 13rem } .bins { display: block; min-width: 10rem }
.absent { color: var(--note); font-style: italic }
section > .absent { display: block; margin: .3rem 0 }
a { color: inherit } :focus-visible { outline: 2px solid var(--now); outline-offset: 2px }
@media print { body { max-width: none; margin: 0 } details, tr, svg { break-inside: avoid }
  .search { display: none } .good, .bad, .drift, .small, .usual { color: inherit;
  background: none; border: 1px solid } .wide { overflow: visible } }
@media (max-width: 40rem) { .brief { float: none; display: block } .facts th { width: 7rem } }
"""
