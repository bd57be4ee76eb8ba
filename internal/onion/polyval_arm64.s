//go:build !purego

#include "textflag.h"

// POLYVAL as in polyval_amd64.s: products in Karatsuba's three parts, at most
// eight of them to a reduction.

// FOLD makes V1 = (w0, w1) the pair (w1, w0) + w0·V14.
#define FOLD \
	VPMULL V14.D1, V1.D1, V5.Q1           \
	VEXT   $8, V1.B16, V1.B16, V1.B16     \
	VEOR   V5.B16, V1.B16, V1.B16

// func polyvalBlocks(acc *fieldElement, table *polyvalTable, in *byte, n int)
TEXT ·polyvalBlocks(SB), NOSPLIT, $0-32
	MOVD acc+0(FP), R0
	MOVD table+8(FP), R1
	MOVD in+16(FP), R2
	MOVD n+24(FP), R3
	MOVD $0xc200000000000000, R4
	VEOR V15.B16, V15.B16, V15.B16
	VEOR V14.B16, V14.B16, V14.B16
	VMOV R4, V14.D[0]
	VLD1 (R0), [V0.B16]

stride:
	CBZ  R3, done
	MOVD $8, R5
	CMP  R5, R3
	CSEL LT, R3, R5, R5
	SUB  R5, R3, R3
	MOVD $8, R6
	SUB  R5, R6, R6
	ADD  R6<<5, R1, R6
	VEOR V1.B16, V1.B16, V1.B16
	VEOR V2.B16, V2.B16, V2.B16
	VEOR V3.B16, V3.B16, V3.B16

block:
	VLD1.P  16(R2), [V4.B16]
	VEOR    V0.B16, V4.B16, V4.B16
	VEOR    V0.B16, V0.B16, V0.B16
	VLD1.P  32(R6), [V6.B16, V7.B16]
	VEXT    $8, V4.B16, V4.B16, V5.B16
	VEOR    V4.B16, V5.B16, V5.B16
	VPMULL  V5.D1, V7.D1, V8.Q1
	VPMULL  V4.D1, V6.D1, V9.Q1
	VPMULL2 V4.D2, V6.D2, V10.Q1
	VEOR    V8.B16, V3.B16, V3.B16
	VEOR    V9.B16, V1.B16, V1.B16
	VEOR    V10.B16, V2.B16, V2.B16
	SUB     $1, R5, R5
	CBNZ    R5, block

	VEOR V1.B16, V3.B16, V3.B16
	VEOR V2.B16, V3.B16, V3.B16
	VEXT $8, V3.B16, V15.B16, V4.B16
	VEXT $8, V15.B16, V3.B16, V5.B16
	VEOR V4.B16, V1.B16, V1.B16
	VEOR V5.B16, V2.B16, V2.B16
	FOLD
	FOLD
	VEOR V1.B16, V2.B16, V0.B16
	B    stride

done:
	VST1 [V0.B16], (R0)
	RET
