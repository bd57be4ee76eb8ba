package identity

import "sotto/internal/suite"

// Labels of this package (spec/identity.md §3).
const (
	labelPersonaRoot     suite.Label = suite.LabelPrefix + "identity/persona/root"
	labelPersonaBase     suite.Label = suite.LabelPrefix + "identity/persona/base"
	labelPersonaIdentity suite.Label = suite.LabelPrefix + "identity/persona/dh"
	labelBlindSecret     suite.Label = suite.LabelPrefix + "identity/blind/prefix"
	labelPeriod          suite.Label = suite.LabelPrefix + "identity/blind/period"
	labelCertificate     suite.Label = suite.LabelPrefix + "identity/certificate"
	labelSubject         suite.Label = suite.LabelPrefix + "identity/certificate/subject"
	labelRemoval         suite.Label = suite.LabelPrefix + "identity/certificate/removal"
	labelCard            suite.Label = suite.LabelPrefix + "identity/card"
	labelCardKey         suite.Label = suite.LabelPrefix + "identity/card/key"
	labelCardShared      suite.Label = suite.LabelPrefix + "identity/card/shared"
	labelFrontDoorShared suite.Label = suite.LabelPrefix + "identity/front door/shared"
	labelFrontDoorKey    suite.Label = suite.LabelPrefix + "identity/front door/key"
)
