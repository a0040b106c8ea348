//! Properties of the verdict.
