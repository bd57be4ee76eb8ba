// Package archtest holds the tree to the rules that a compiler cannot: which
// package may import which, what a pure package does without, that each package
// says what it is, and that references into spec/ resolve.
//
// It has tests only and is imported by nobody. The rules are written down in
// lattice_test.go and purity_test.go as statements of policy; a change of one
// is a change of the design, and says why. They read the source, not the build,
// so that files for other systems and architectures are judged too. Test files
// are exempt from the rules on imports: they may reach wherever they need to.
package archtest
