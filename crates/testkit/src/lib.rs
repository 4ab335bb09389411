//! A whole system in one process, for tests.
