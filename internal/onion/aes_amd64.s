//go:build !purego

#include "textflag.h"

// AES-128 (FIPS 197) by AES-NI. A schedule is eleven round keys in order.

// NEXTKEY makes X0 the round key after it, and stores that at off(DI).
// AESKEYGENASSIST leaves SubWord(RotWord(w3)) + rcon in the highest word; each
// word of the next key is that plus all words of this one up to its own.
#define NEXTKEY(rcon, off) \
	AESKEYGENASSIST $rcon, X0, X1 \
	PSHUFD          $0xff, X1, X1 \
	MOVO            X0, X2        \
	PSLLDQ          $4, X2        \
	PXOR            X2, X0        \
	MOVO            X0, X2        \
	PSLLDQ          $8, X2        \
	PXOR            X2, X0        \
	PXOR            X1, X0        \
	MOVOU           X0, off(DI)

// func aesExpand(schedule *aesSchedule, key *byte)
TEXT ·aesExpand(SB), NOSPLIT, $0-16
	MOVQ  schedule+0(FP), DI
	MOVQ  key+8(FP), SI
	MOVOU (SI), X0
	MOVOU X0, (DI)
	NEXTKEY(0x01, 16)
	NEXTKEY(0x02, 32)
	NEXTKEY(0x04, 48)
	NEXTKEY(0x08, 64)
	NEXTKEY(0x10, 80)
	NEXTKEY(0x20, 96)
	NEXTKEY(0x40, 112)
	NEXTKEY(0x80, 128)
	NEXTKEY(0x1b, 144)
	NEXTKEY(0x36, 160)
	RET

#define ENCROUND(off) \
	MOVOU  off(R8), X1 \
	AESENC X1, X0

// func aesEncrypt(schedule *aesSchedule, block *byte)
TEXT ·aesEncrypt(SB), NOSPLIT, $0-16
	MOVQ  schedule+0(FP), R8
	MOVQ  block+8(FP), DI
	MOVOU (DI), X0
	MOVOU (R8), X1
	PXOR  X1, X0
	ENCROUND(16)
	ENCROUND(32)
	ENCROUND(48)
	ENCROUND(64)
	ENCROUND(80)
	ENCROUND(96)
	ENCROUND(112)
	ENCROUND(128)
	ENCROUND(144)
	MOVOU      160(R8), X1
	AESENCLAST X1, X0
	MOVOU      X0, (DI)
	RET

// The equivalent inverse cipher (FIPS 197 §5.3.5) takes the middle round keys
// through InvMixColumns: one block at a time, so that keeping them does not pay.
#define DECROUND(off) \
	MOVOU  off(R8), X1 \
	AESIMC X1, X1      \
	AESDEC X1, X0

// func aesDecrypt(schedule *aesSchedule, block *byte)
TEXT ·aesDecrypt(SB), NOSPLIT, $0-16
	MOVQ  schedule+0(FP), R8
	MOVQ  block+8(FP), DI
	MOVOU (DI), X0
	MOVOU 160(R8), X1
	PXOR  X1, X0
	DECROUND(144)
	DECROUND(128)
	DECROUND(112)
	DECROUND(96)
	DECROUND(80)
	DECROUND(64)
	DECROUND(48)
	DECROUND(32)
	DECROUND(16)
	MOVOU      (R8), X1
	AESDECLAST X1, X0
	MOVOU      X0, (DI)
	RET

// NEXTCTR makes X the counter, and counts on in its last byte.
#define NEXTCTR(X) \
	MOVO  X8, X \
	PADDB X9, X8

// EIGHT applies one round, its key at off(R8), to eight blocks.
#define EIGHT(ROUND, off) \
	MOVOU off(R8), X10 \
	ROUND X10, X0      \
	ROUND X10, X1      \
	ROUND X10, X2      \
	ROUND X10, X3      \
	ROUND X10, X4      \
	ROUND X10, X5      \
	ROUND X10, X6      \
	ROUND X10, X7

#define XOROUT(off, X) \
	MOVOU off(DI), X10 \
	PXOR  X10, X       \
	MOVOU X, off(DI)

// func aesCounter8(schedule *aesSchedule, iv *fieldElement, data *byte, strides int)
TEXT ·aesCounter8(SB), NOSPLIT, $0-32
	MOVQ       schedule+0(FP), R8
	MOVQ       iv+8(FP), SI
	MOVQ       data+16(FP), DI
	MOVQ       strides+24(FP), CX
	MOVQ       (SI), X8           // by halves, as it was stored
	MOVQ       8(SI), X9
	PUNPCKLQDQ X9, X8
	MOVQ       $1, AX
	MOVQ       AX, X9
	PSLLDQ     $15, X9

stride:
	NEXTCTR(X0)
	NEXTCTR(X1)
	NEXTCTR(X2)
	NEXTCTR(X3)
	NEXTCTR(X4)
	NEXTCTR(X5)
	NEXTCTR(X6)
	NEXTCTR(X7)
	EIGHT(PXOR, 0)
	EIGHT(AESENC, 16)
	EIGHT(AESENC, 32)
	EIGHT(AESENC, 48)
	EIGHT(AESENC, 64)
	EIGHT(AESENC, 80)
	EIGHT(AESENC, 96)
	EIGHT(AESENC, 112)
	EIGHT(AESENC, 128)
	EIGHT(AESENC, 144)
	EIGHT(AESENCLAST, 160)
	XOROUT(0, X0)
	XOROUT(16, X1)
	XOROUT(32, X2)
	XOROUT(48, X3)
	XOROUT(64, X4)
	XOROUT(80, X5)
	XOROUT(96, X6)
	XOROUT(112, X7)
	ADDQ  $128, DI
	DECQ  CX
	JNZ   stride
	MOVOU X8, (SI)
	RET
