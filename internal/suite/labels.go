package suite

// Label separates the domains of hashes, derivations and signatures: no two
// uses of a primitive share one (spec/conventions.md §3). Every package keeps
// its labels in one visible block of constants that starts with LabelPrefix.
type Label string

// LabelPrefix begins every label, and changes with the protocol's generation.
const LabelPrefix = "sotto/1/"
