// The handlers of all instructions, by file: what opcodes.cc puts into the table.
#pragma once

#include "insn.h"

namespace nvmm::cpu {

// One operation by operand size (8, 16, 32, 64 bits) and by where its operand E is: in a register, in memory, in memory
// with LOCK. Null: does not exist.
struct Variants {
  Handler handler[4][3];
};

// clang-format off
using H = const Insn*(Core&, const Insn*);
using V = const Variants;

// exec_alu.cc: E, G and I tell the operands, destination first
extern V addEG, orEG, adcEG, sbbEG, andEG, subEG, xorEG, cmpEG, testEG;
extern V addGE, orGE, adcGE, sbbGE, andGE, subGE, xorGE, cmpGE;
extern V addEI, orEI, adcEI, sbbEI, andEI, subEI, xorEI, cmpEI, testEI;
extern V incE, decE, notE, negE, adcx, adox, andn;

// exec_move.cc
extern V movEG, movGE, movEI, movZI, movAO, movOA, movzxByte, movzxWord, movsxByte, movsxWord, movsxd, movbeGE, movbeEG;
extern V xchgEG, xchgAZ, xaddEG, cmpxchgEG, lea, bswap, cbw, cwd;
extern V cmov[16], setcc[16];
H cmpxchg8b, cmpxchg16b, xlat, lahf, sahf, clc, stc, cmc, cld, std_;

// exec_shift.cc: by an immediate, by CL, by 1
extern V rolI, rorI, rclI, rcrI, shlI, shrI, sarI, rolC, rorC, rclC, rcrC, shlC, shrC, sarC;
extern V rol1, ror1, rcl1, rcr1, shl1, shr1, sar1, shldI, shrdI, shldC, shrdC;
extern V rorx, sarx, shlx, shrx;

// exec_muldiv.cc
extern V mulE, imulE, imulGE, imulGEI, divE, idivE, mulx;

// exec_bit.cc
extern V btEG, btsEG, btrEG, btcEG, btEI, btsEI, btrEI, btcEI, bsf, bsr, tzcnt, lzcnt, popcnt;
extern V blsr, blsmsk, blsi, bextr, bzhi, pdep, pext;

// exec_string.cc
extern V movs, cmps, scas, lods, stos;

// exec_stack.cc
extern V pushZ, popZ, pushE, popE, pushI, pusha, popa, enter, leave_, pushf, popf;

// exec_flow.cc
extern V callJ, callE, jmpJ, jmpE, ret, retI, bound, loop, loope, loopne, jcxz;
H nop, prefetchw, fence, clflush, cli, sti;
H undefined, unknownOpcode, instructionTooLong;               // unknownOpcode: insn->imm counts in Core::unknownOpcodes
H endOfBlock, leaveBlock;                                     // behind the last instruction; put there by BlockCache::overwritten
extern V jcc[16];  // by condition

// exec_decimal.cc
H daa, das, aaa, aas, aam, aad, salc;

// exec_system.cc
H lgdt, lidt, sgdt, sidt, sldt, str, lldt, ltr, lmsw, smsw;  // operand by insn->memory; sizes by insn->operandSize
H movFromCr, movToCr, movFromDr, movToDr, clts;               // insn->reg: CRn, DRn; insn->rm: GPR
H invlpg, invd, wbinvd, invpcid, hlt, cpuid, rdmsr, wrmsr, rdtsc, rdtscp, rdpmc, monitor, mwait, xgetbv, xsetbv, rsm;
H inImm, inDx, outImm, outDx, ins, outs;                      // operandSize 1, 2, 4 (ins, outs: maybe 8, as 4)
H syscall, sysret, sysenter, sysexit, swapgs, rdfsbase, rdgsbase, wrfsbase, wrgsbase, clac, stac;
H lar, lsl, verr, verw, arpl;
H vmcall, vmmcall, vmrun, vmload, vmsave, stgi, clgi, skinit, invlpga;
H vmxInstruction;                                             // VMXON, VMREAD, INVEPT ...: all that AMD does not have

// segments.cc
H movFromSegment, movToSegment, pushSegment, popSegment;      // insn->reg: segment 0..5
H les, lds, lss, lfs, lgs;
H jmpFarDirect, callFarDirect;                                // insn->selector, insn->imm
H jmpFarIndirect, callFarIndirect, retFar, retFarImm;         // retFarImm: insn->imm

// events.cc
H int3, intN, into, int1, iret;                               // intN: insn->imm

// exec_fpu_arith.cc: by the size of a memory operand
extern V fadd, fsub, fsubr, fmul, fdiv, fdivr, fcom, fcomp, fiadd, fisub, fisubr, fimul, fidiv, fidivr, ficom, ficomp;
H faddSti, fsubSti, fsubrSti, fmulSti, fdivSti, fdivrSti, fcomSti, fcompSti;
H faddp, fsubp, fsubrp, fmulp, fdivp, fdivrp, fcompp, fucom, fucomp, fucompp, fcomi, fcomip, fucomi, fucomip;
H ftst, fxam, fchs, fabs_, fsqrt, frndint, fscale, fxtract, fprem, fprem1;

// exec_fpu_move.cc
extern V fldReal, fstReal, fstpReal, fild, fist, fistp, fisttp;
H fldExtended, fstpExtended, fbld, fbstp, fldRegister, fstRegister, fstpRegister, fstpnce, fxch;
H fld1, fldz, fldpi, fldl2t, fldl2e, fldlg2, fldln2, fcmovb, fcmovnb, fcmove, fcmovne, fcmovbe, fcmovnbe, fcmovu, fcmovnu;
H ffree, ffreep, fincstp, fdecstp, fnop;

// exec_fpu_transcendental.cc
H fsin, fcos, fsincos, fptan, fpatan, f2xm1, fyl2x, fyl2xp1;

// exec_fpu_control.cc
H fldcw, fnstcw, fnstsw, fnstswAx, fnclex, fninit, fnIgnored, fnstenv, fldenv, fnsave, frstor, wait;

// exec_xsave.cc
H fxsave, fxrstor, xsave, xrstor, ldmxcsr, stmxcsr;

// MMX and SSE: by mandatory prefix (simd.h); a name is that of the form without prefix.
// exec_simd_move.cc
extern V movups, movupsStore, movlps, movhps, movlpsStore, movhpsStore, movaps, movapsStore, movmskps, pmovmskb;
extern V movdFrom, movdTo, movq, movqStore, movqToMmx, movntq, movntdqa, lddqu, maskmovq;
H emms;

// exec_simd_integer.cc
extern V paddb, paddw, paddd, paddq, psubb, psubw, psubd, psubq;
extern V paddsb, paddsw, paddusb, paddusw, psubsb, psubsw, psubusb, psubusw;
extern V pcmpeqb, pcmpeqw, pcmpeqd, pcmpeqq, pcmpgtb, pcmpgtw, pcmpgtd, pcmpgtq, pavgb, pavgw;
extern V pminub, pmaxub, pminsw, pmaxsw, pminsb, pminsd, pminuw, pminud, pmaxsb, pmaxsd, pmaxuw, pmaxud, phminposuw;
extern V pand, pandn, por, pxor, andps, andnps, orps, xorps, ptest;
extern V pmullw, pmulld, pmulhw, pmulhuw, pmulhrsw, pmuludq, pmuldq, pmaddwd, pmaddubsw, psadbw, mpsadbw;
extern V phaddw, phaddd, phaddsw, phsubw, phsubd, phsubsw, psignb, psignw, psignd, pabsb, pabsw, pabsd;
extern V psllw, pslld, psllq, psrlw, psrld, psrlq, psraw, psrad;
extern V psllwI, pslldI, psllqI, psrlwI, psrldI, psrlqI, psrawI, psradI, pslldq, psrldq;

// exec_simd_shuffle.cc
extern V packsswb, packuswb, packssdw, packusdw, punpcklbw, punpcklwd, punpckldq, punpckhbw, punpckhwd, punpckhdq;
extern V punpcklqdq, punpckhqdq, unpcklps, unpckhps, pshufw, shufps, pshufb, palignr;
extern V blendps, blendpd, pblendw, blendvps, blendvpd, pblendvb;
extern V pmovsxbw, pmovsxbd, pmovsxbq, pmovsxwd, pmovsxwq, pmovsxdq, pmovzxbw, pmovzxbd, pmovzxbq, pmovzxwd, pmovzxwq, pmovzxdq;
extern V pinsrw, pextrw, pinsrb, pinsrd, pextrb, pextrwTo, pextrd, extractps, insertps;

// exec_sse_float.cc
extern V addps, subps, mulps, divps, sqrtps, minps, maxps, cmpps, ucomiss, comiss, rcpps, rsqrtps;
extern V haddps, hsubps, addsubps, roundps, roundpd, roundss, roundsd, dpps, dppd;

// exec_sse42.cc
extern V pcmpestrm, pcmpestri, pcmpistrm, pcmpistri, crc32;
H crc32Byte;

// exec_sse_convert.cc
extern V cvtpi2ps, cvttps2pi, cvtps2pi, cvtps2pd, cvtdq2ps, cvtpd2dq;
// clang-format on

}  // namespace nvmm::cpu
