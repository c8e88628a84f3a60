"""The parts of a card on a release: drift, image, materials, signature, history, how to call it."""

from fnmodel.card.facts import Data, Facts
from fnmodel.pages.markup import (
    Html,
    absent,
    facts,
    figure,
    folded,
    listed,
    moment,
    note,
    pill,
    table,
    text,
)
from fnmodel.units import size


def drift(card: Facts) -> str:
    """Return what a report of captured rows last said."""
    found = card.drift
    if found is None:
        return absent(f"No report: {card.why('drift')}.")
    question = found["question"]
    span = f"{moment(question['since'])} to {moment(question['until'])} UTC"
    columns = [one for one in found["drift"]["columns"] if one["verdict"] == "drift"]
    rows = [
        (one["name"], one["role"], figure(one["excess"]), figure(one["wasserstein"]))
        for one in columns
    ]
    verdict = pill("quiet", "good")
    if found["alarms"]:
        verdict = pill(f"{len(found['alarms'])} to look at", "bad")
    elif all(one["verdict"] in ("few", "unkept") for one in found["drift"]["columns"]):
        verdict = pill("too few rows to say")
    shown = {"captured rows of": span, "rows": f"{found['rows']:,}", "verdict": verdict}
    versions = ", ".join(found["versions"])
    heads = ("drifted", "", "PSI without noise", "moved, in deviations")
    return facts({**shown, "versions": versions}) + listed(found["alarms"]) + table(heads, rows)


def image(card: Facts) -> str:
    """Return what the image is made of and who vouches for it."""
    found = card.image
    if found is None:
        return absent(f"No image: {card.why('image')}.")
    base = found["base"]
    shown = {
        "image": found["image"],
        "digest": found["digest"],
        "size": size(found["size"]),
        "platform": f"{found['architecture']}, Python {found['python']}",
        "base": f"{base['name']}@{base['digest']}" if base else absent("none: it has no base"),
        "signature": _signature(found["signature"]),
        "built by": f"fnmodel {found['fnmodel']}" if found["fnmodel"] else absent("not said"),
        "lock of the runtime": found["lock"] or absent("not said"),
        "lock of the project": found["requirements"] or "none: it has no packages of its own",
    }
    layers = [[one["created_by"], size(one["size"]), one["digest"]] for one in found["layers"]]
    return (
        facts(shown)
        + _materials(found["sbom"])
        + folded(f"{len(layers)} layers", table(("layer", "compressed", "digest"), layers))
    )


def _signature(found: Data) -> Html:
    if found["state"] == "verified":
        return Html(f"{pill('verified', 'good')} by {text(found['key'])}")
    kind = "bad" if found["state"] == "wrong" else ""
    return Html(f"{pill(found['state'], kind)} {text(found['reason'] or '')}")


def _materials(bill: Data | None) -> str:
    if bill is None:
        return absent("No bill of materials lies beside the image.")
    counted = ", ".join(f"{count:,} {name}" for name, count in bill["components"].items())
    words = "" if bill["complete"] else "; not complete"
    words += "; vouched for by the signature" if bill["signed"] else ""
    licences = sorted(bill["licenses"].items(), key=lambda one: -one[1])
    return note(f"Bill of materials {bill['digest']}: {counted}{words}.") + folded(
        f"{len(licences)} licences", table(("licence", "components"), licences)
    )


def history(card: Facts) -> str:
    """Return what the ledger says of this image."""
    if card.releases is None:
        return absent(f"No history: {card.why('releases')}.")
    rows = [
        (moment(one["time"]), one["action"], one["result"], one["version"], one["who"],
         one["reason"])
        for one in card.releases
    ]  # fmt: skip
    heads = ("time", "action", "result", "version", "who", "why")
    return table(heads, rows) or absent("The ledger has no record of this image.")


def usage(card: Facts) -> str:
    """Return the line that calls the model."""
    found = card.usage
    if found is None:
        return absent(f"No address: {card.why('usage')}.")
    shown = {"URL": found.url, "who may call it": found.access}
    return facts(shown) + f"<pre><code>{text(found.curl)}</code></pre>"
