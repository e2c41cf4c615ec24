//! The table: what one publish swaps.
