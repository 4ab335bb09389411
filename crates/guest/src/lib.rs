//! Everything that runs inside a sandbox: the daemon and the code interpreter.
