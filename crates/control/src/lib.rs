//! Decides what should exist and answers REST.
