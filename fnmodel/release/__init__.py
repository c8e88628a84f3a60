"""Published versions go in; alias weights come out, behind a gate, with a ledger."""
