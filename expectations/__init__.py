"""The two gates' suites, as code: every expectation, its limit, severity and owner."""
