//! Durable state of the control plane.
