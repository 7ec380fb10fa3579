"""How a report looks: light and dark, wide and narrow."""

STYLE = """
:root { color-scheme: light dark; --ink: #1c1f23; --paper: #ffffff; --rule: #d9dde2;
  --soft: #5c6670; --t0: #1f6fb2; --t1: #c8501e; --t2: #2a8a4a; --t3: #8a4bb0; --t4: #a07800;
  --t5: #b0306a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --paper: #15181c; --rule: #353b42;
  --soft: #9aa4ae; --t0: #6db3f2; --t1: #ff9a6b; --t2: #6fd08c; --t3: #cd9bf0; --t4: #e2bd4d;
  --t5: #f286b4; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1100px; padding: 1rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.7rem; border-bottom: 1px solid var(--rule); text-align: left;
  vertical-align: top; }
td.number, th.number { text-align: right; white-space: nowrap; }
td.best { font-weight: 700; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr));
  gap: 1rem; }
figure { margin: 0; min-width: 0; } svg { width: 100%; height: auto; }
svg text { fill: var(--soft); font-size: 13px; } .rule { stroke: var(--rule); }
.line { fill: none; stroke: currentColor; stroke-width: 2; } .dot { fill: currentColor; }
.band { fill: currentColor; opacity: 0.16; } .dashed { stroke-dasharray: 6 4; }
.tone-0 { color: var(--t0); } .tone-1 { color: var(--t1); } .tone-2 { color: var(--t2); }
.tone-3 { color: var(--t3); } .tone-4 { color: var(--t4); } .tone-5 { color: var(--t5); }
figcaption, .note { color: var(--soft); font-size: 0.85rem; overflow-wrap: anywhere; }
.key span { display: inline-block; width: 1.6em; border-top: 3px solid currentColor;
  vertical-align: middle; margin-right: 0.4em; }
.key span.dashed { border-top-style: dashed; }
.key { margin-right: 1.2em; } dt { font-weight: 600; } dd { margin: 0 0 0.5rem 0;
  overflow-wrap: anywhere; }
"""
