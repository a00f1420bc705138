//! The admission webhook: a pod in, a patch out.
