//! The kinds of this program, one file each.
