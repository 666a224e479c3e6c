//! One core's state machine.
