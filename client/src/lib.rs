//! Rust client for Tidegate.
