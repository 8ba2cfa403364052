"""Network definitions that a catalogue key can name; each module holds one family."""
