"""The frame of a page: its head, its policy, and a search where there is much to search.

The policy names style and script by their hashes, so that nothing else has an effect, whatever
text a page shows. A page that needs no search has no script at all.
"""

import base64
import hashlib

from fnmodel.pages.markup import text
from fnmodel.pages.style import STYLE

MUCH = 30
"""Items above which a page can be searched."""

# Hides items of another name and opens the folds that hold a hit. The field appears by the script
# alone, so that without it nothing is there that does not work.
SCRIPT = """
for (const box of document.querySelectorAll('.search')) {
  const field = box.querySelector('input'), said = box.querySelector('output');
  const items = [...document.querySelectorAll('[data-name]')];
  const folds = [...document.querySelectorAll('details.more')].filter(
    (one) => one.querySelector('[data-name]'));
  const before = folds.map((one) => one.open);
  box.hidden = false;
  field.addEventListener('input', () => {
    const words = field.value.trim().toLowerCase();
    let left = 0;
    for (const item of items) {
      item.hidden = !item.dataset.name.toLowerCase().includes(words);
      left += !item.hidden;
    }
    folds.forEach((one, at) => {
      one.open = words ? !!one.querySelector('[data-name]:not([hidden])') : before[at];
    });
    said.textContent = words ? `${left} of ${items.length}` : '';
  });
}
"""


def page(title: str, header: str, parts: list[str], *, searched: bool = False) -> str:
    """Return a whole page: `header` and `parts` are markup, empty parts are left out."""
    policy = f"default-src 'none'; style-src {_hash(STYLE)}; base-uri 'none'; form-action 'none'"
    script = ""
    if searched:
        policy += f"; script-src {_hash(SCRIPT)}"
        script = f"<script>{SCRIPT}</script>"
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        f'<meta http-equiv=Content-Security-Policy content="{policy}">'
        "<meta name=viewport content='width=device-width'>"
        f"<title>{text(title)}</title><style>{STYLE}</style></head><body>"
        f"<header>{header}</header><main>"
        + "\n".join(part for part in parts if part)
        + f"</main>{script}</body></html>\n"
    )


def search(what: str, items: int) -> str:
    """Return a field that searches the page's items; nothing where these can be overlooked."""
    if items <= MUCH:
        return ""
    return (
        f"<p class=search hidden><label>Find {text(what)} <input type=search></label> "
        "<output class=note></output></p>"
    )


def _hash(source: str) -> str:
    digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
    return f"'sha256-{digest}'"
