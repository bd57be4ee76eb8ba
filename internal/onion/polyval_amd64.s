//go:build !purego

#include "textflag.h"

// POLYVAL (RFC 8452 §3) by carry-less multiplication. Blocks and powers are
// little-endian 128-bit polynomials, as they lie in memory.
//
// The hash of blocks b1 … bn is (acc+b1)·H^n + b2·H^(n-1) + … + bn·H: the
// products are added up unreduced in Karatsuba's three parts, and reduced once.

// MULADD adds X4 times the power at off(R8) to X1 (low), X2 (high), X3 (middle).
#define MULADD(off) \
	MOVOU     off(R8), X6       \
	MOVOU     (off+16)(R8), X7  \
	PSHUFD    $0x4e, X4, X5     \
	PXOR      X4, X5            \
	MOVO      X6, X8            \
	PCLMULQDQ $0x00, X5, X7     \
	PCLMULQDQ $0x00, X4, X6     \
	PCLMULQDQ $0x11, X4, X8     \
	PXOR      X7, X3            \
	PXOR      X6, X1            \
	PXOR      X8, X2

// FOLD makes X1 = (w0, w1) the pair (w1, w0) + w0·(x^57 + x^62 + x^63). X14
// holds that polynomial, which is the modulus without x^128 and 1, over x^64:
// adding the modulus w0 times clears w0, and moves what is left by 64 places.
#define FOLD \
	MOVO      X14, X5       \
	PCLMULQDQ $0x00, X1, X5 \
	PSHUFD    $0x4e, X1, X1 \
	PXOR      X5, X1

// REDUCE makes X0 the sum of products over x^128. The low half folds twice
// (Gueron's reduction after Montgomery) and lands on the high half.
#define REDUCE \
	PXOR   X1, X3 \
	PXOR   X2, X3 \
	MOVO   X3, X4 \
	PSLLDQ $8, X4 \
	PSRLDQ $8, X3 \
	PXOR   X4, X1 \
	PXOR   X3, X2 \
	FOLD          \
	FOLD          \
	MOVO   X2, X0 \
	PXOR   X1, X0

// LOADELEMENT loads an element that was stored by halves: a load of the whole
// would wait for both to leave the processor's store queue.
#define LOADELEMENT(P, X) \
	MOVQ       (P), X   \
	MOVQ       8(P), X5 \
	PUNPCKLQDQ X5, X

// func polyvalBlocks(acc *fieldElement, table *polyvalTable, in *byte, n int)
TEXT ·polyvalBlocks(SB), NOSPLIT, $0-32
	MOVQ  acc+0(FP), DI
	MOVQ  table+8(FP), R8
	MOVQ  in+16(FP), SI
	MOVQ  n+24(FP), CX
	MOVQ  $0xc200000000000000, AX
	MOVQ  AX, X14
	LOADELEMENT(DI, X0)

eight:
	CMPQ  CX, $8
	JLT   tail
	PXOR  X1, X1
	PXOR  X2, X2
	PXOR  X3, X3
	MOVOU (SI), X4
	PXOR  X0, X4
	MULADD(0)
	MOVOU 16(SI), X4
	MULADD(32)
	MOVOU 32(SI), X4
	MULADD(64)
	MOVOU 48(SI), X4
	MULADD(96)
	MOVOU 64(SI), X4
	MULADD(128)
	MOVOU 80(SI), X4
	MULADD(160)
	MOVOU 96(SI), X4
	MULADD(192)
	MOVOU 112(SI), X4
	MULADD(224)
	REDUCE
	ADDQ  $128, SI
	SUBQ  $8, CX
	JMP   eight

tail:
	// The lowest n powers, for the last n < 8 blocks.
	TESTQ CX, CX
	JLE   done
	MOVQ  $8, AX
	SUBQ  CX, AX
	SHLQ  $5, AX
	ADDQ  AX, R8
	PXOR  X1, X1
	PXOR  X2, X2
	PXOR  X3, X3

one:
	MOVOU (SI), X4
	PXOR  X0, X4
	PXOR  X0, X0
	MULADD(0)
	ADDQ  $16, SI
	ADDQ  $32, R8
	DECQ  CX
	JNZ   one
	REDUCE

done:
	MOVOU X0, (DI)
	RET

// STORE writes the power X0 at off(DI), and leaves the sum of its halves in X5.
#define STORE(off) \
	PSHUFD $0x4e, X0, X5 \
	PXOR   X0, X5        \
	MOVOU  X0, off(DI)   \
	MOVOU  X5, (off+16)(DI)

// MULBY makes X0 its product with X9, whose halves' sum is X10.
#define MULBY \
	PSHUFD    $0x4e, X0, X5 \
	PXOR      X0, X5        \
	MOVO      X9, X1        \
	MOVO      X9, X2        \
	MOVO      X10, X3       \
	PCLMULQDQ $0x00, X5, X3 \
	PCLMULQDQ $0x00, X0, X1 \
	PCLMULQDQ $0x11, X0, X2 \
	REDUCE

// TWOMORE stores the next odd power, from X11, and the next even one, from
// X12: two chains that do not wait for each other.
#define TWOMORE(odd, even) \
	MOVO X11, X0 \
	MULBY        \
	STORE(odd)   \
	MOVO X0, X11 \
	MOVO X12, X0 \
	MULBY        \
	STORE(even)  \
	MOVO X0, X12

// func polyvalPowers(table *polyvalTable, h *fieldElement)
TEXT ·polyvalPowers(SB), NOSPLIT, $0-16
	MOVQ table+0(FP), DI
	MOVQ h+8(FP), SI
	MOVQ $0xc200000000000000, AX
	MOVQ AX, X14
	LOADELEMENT(SI, X0)
	MOVO X0, X11
	STORE(224)
	MOVO X0, X9
	MOVO X5, X10
	MULBY
	STORE(192)
	MOVO X0, X12
	MOVO X0, X9
	MOVO X5, X10
	TWOMORE(160, 128)
	TWOMORE(96, 64)
	TWOMORE(32, 0)
	RET
