"""Texts that tell one way of cutting words from another."""

# ruff: noqa: RUF001 - these texts are ambiguous on purpose
HOSTILE = (
    "", " ", "\t\n", "hello", "Hello, World! don't stop-believing...", "naïve café CAFE\u0301",
    "İstanbul ıI", "straße STRASSE ﬁne ﬀ", "ΟΔΟΣ Σ ς", "한국어 각\u1100\u1161\u11a8",
    "日本語の文章 漢字",
    "العربية مُدَوَّنَة \u0640", "हिन्दी भाषा", "ไทย ภาษา", "עִבְרִית",
    "👩‍👩‍👧 🏳️‍🌈 👍🏽 e\u0301\u0323\u031b",
    "a\u200bb\u200cc\u200dd\ufeffe\u00ad", "a\x01b\x7fc\x85d\x1fe", "a\u2028b\u2029c\u00a0d\u3000e",
    "[CLS] [SEP] x [MASK][PAD] [UNK]", "<s> </s> <mask> <pad> <unk> <|endoftext|>", "x" * 99,
    "x" * 100, "x" * 101, "ab" * 300, "word " * 700, "\ufffd \ue000 \U000f0000 \u0378 \U0001fae8",
    "１２３ ＡＢＣ ½ Ⅷ ⅷ ǅ ǆ K Å Ω", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", "«»„“”‚‘’¿¡…—–·",
    "it's we're I'll you'd I'm they've IT'S", "1 12 123 1234 12,345.678", "  two  spaces   three ",
    "\u0301\u0301 \u0345 \u3099", "a\u0315\u0300\u05ae b", "\U0001d15e \u0958 \u2126 \ufb1d",
)  # fmt: skip
