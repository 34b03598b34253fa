// The rows of x87, MMX and SSE to SSE4.2.
#include "oracle_table.h"

namespace nvmm::oracle {
namespace {

using O = Operand;
using I = Immediate;
using M = Modes;
using P = Prefix;

constexpr uint8_t digit(unsigned n) { return static_cast<uint8_t>(1u << n); }
constexpr uint8_t digits(unsigned first, unsigned last) { return static_cast<uint8_t>((2u << last) - (1u << first)); }

constexpr Row x87(uint16_t opcode, Operand operand, uint8_t digits, uint8_t rms = kAnyDigit, uint32_t traits = 0) {
  return {"x87", "x87", opcode, 1, operand, I::None, kFloat | traits, 0, digits, M::All, P::Any, rms};
}
constexpr Row transcendental(uint8_t digits, uint8_t rms) {
  return {"transcendental",      "x87", 0xd9,   1,      O::Register, I::None,
          kFloat | kApproximate, 0,     digits, M::All, P::Any,      rms};
}

constexpr Row kX87[] = {
    x87(0xd8, O::ModRm, kAnyDigit),
    x87(0xd9, O::Memory, digit(0) | digits(2, 3) | digit(5) | digit(7)),
    x87(0xd9, O::Memory, digit(4) | digit(6), kAnyDigit, kSeveral),  // FLDENV, FNSTENV
    x87(0xd9, O::Register, digits(0, 5)),
    x87(0xd9, O::Register, digit(6), digits(4, 7)),                               // FXTRACT, FPREM1, FDECSTP, FINCSTP
    x87(0xd9, O::Register, digit(7), digit(0) | digit(2) | digit(4) | digit(5)),  // FPREM, FSQRT, FRNDINT, FSCALE
    x87(0xda, O::Memory, kAnyDigit),
    x87(0xda, O::Register, digits(0, 3), kAnyDigit, kReadsFlags),  // FCMOVcc
    x87(0xda, O::Register, digits(4, 7)),
    x87(0xdb, O::Memory, digits(0, 4) | digit(6)),
    x87(0xdb, O::Memory, digit(5) | digit(7), kAnyDigit, kSeveral),  // FLD, FSTP of 80 bits
    x87(0xdb, O::Register, digits(0, 3), kAnyDigit, kReadsFlags),    // FCMOVNcc
    x87(0xdb, O::Register, digits(4, 7)),
    x87(0xdc, O::ModRm, kAnyDigit),
    x87(0xdd, O::Memory, digits(0, 3) | digit(5) | digit(7)),
    x87(0xdd, O::Memory, digit(4) | digit(6), kAnyDigit, kSeveral),  // FRSTOR, FNSAVE
    x87(0xdd, O::Register, kAnyDigit),
    x87(0xde, O::ModRm, kAnyDigit),
    x87(0xdf, O::Memory, digits(0, 3) | digit(5) | digit(7)),
    x87(0xdf, O::Memory, digit(4) | digit(6), kAnyDigit, kSeveral),  // FBLD, FBSTP
    x87(0xdf, O::Register, kAnyDigit),
    {"x87", "FWAIT", 0x9b, 1, O::None, I::None, kFloat},
    transcendental(digit(6), digits(0, 3)),                               // F2XM1, FYL2X, FPTAN, FPATAN
    transcendental(digit(7), digit(1) | digit(3) | digit(6) | digit(7)),  // FYL2XP1, FSINCOS, FSIN, FCOS
};

constexpr char kMove[] = "simd-move";
constexpr char kFp[] = "simd-float";
constexpr char kMmx[] = "mmx";  // these enter the MMX state, with TOP = 0, even where they fault
constexpr char kInteger[] = "simd-integer";

constexpr Row simd(const char* family, uint16_t opcode, uint8_t count, Prefix prefix, Operand operand = O::ModRm,
                   uint32_t traits = 0, Immediate immediate = I::None, uint8_t digits = kAnyDigit) {
  if (family == kMmx) traits |= kPartial;
  return {family, family, opcode, count, operand, immediate, kFloat | traits, 0, digits, M::All, prefix};
}

constexpr Row kSimd[] = {
    // Moves
    simd(kMove, 0x0f10, 2, P::None),
    simd(kMove, 0x0f10, 2, P::P66),
    simd(kMove, 0x0f10, 2, P::F3),
    simd(kMove, 0x0f10, 2, P::F2),
    simd(kMove, 0x0f12, 1, P::None),
    simd(kMove, 0x0f12, 2, P::P66, O::Memory),
    simd(kMove, 0x0f13, 1, P::None, O::Memory),
    simd(kMove, 0x0f14, 2, P::None, O::ModRm, kAligned),
    simd(kMove, 0x0f14, 2, P::P66, O::ModRm, kAligned),
    simd(kMove, 0x0f16, 1, P::None),
    simd(kMove, 0x0f16, 2, P::P66, O::Memory),
    simd(kMove, 0x0f17, 1, P::None, O::Memory),
    simd(kMove, 0x0f28, 2, P::None, O::ModRm, kAligned),
    simd(kMove, 0x0f28, 2, P::P66, O::ModRm, kAligned),
    simd(kMove, 0x0f2b, 1, P::None, O::Memory, kAligned),
    simd(kMove, 0x0f2b, 1, P::P66, O::Memory, kAligned),
    simd(kMove, 0x0f50, 1, P::None, O::Register),
    simd(kMove, 0x0f50, 1, P::P66, O::Register),
    simd(kMmx, 0x0f6e, 1, P::None),
    simd(kMove, 0x0f6e, 1, P::P66),
    simd(kMmx, 0x0f6f, 1, P::None),
    simd(kMove, 0x0f6f, 1, P::P66, O::ModRm, kAligned),
    simd(kMove, 0x0f6f, 1, P::F3),
    simd(kMmx, 0x0f7e, 2, P::None),
    simd(kMove, 0x0f7e, 1, P::P66),
    simd(kMove, 0x0f7e, 2, P::F3),
    simd(kMove, 0x0f7f, 1, P::P66, O::ModRm, kAligned),
    simd(kMove, 0x0fd6, 1, P::P66),
    simd(kMmx, 0x0fd6, 1, P::F3, O::Register),
    simd(kMmx, 0x0fd6, 1, P::F2, O::Register),
    simd(kMmx, 0x0fd7, 1, P::None, O::Register),
    simd(kMove, 0x0fd7, 1, P::P66, O::Register),
    simd(kMmx, 0x0fe7, 1, P::None, O::Memory),
    simd(kMove, 0x0fe7, 1, P::P66, O::Memory, kAligned),
    simd(kMmx, 0x0ff7, 1, P::None, O::Register, kMaskMove | kSeveral),
    simd(kMove, 0x0ff7, 1, P::P66, O::Register, kMaskMove | kSeveral),
    simd(kMmx, 0x0f77, 1, P::None, O::None),
    simd(kMove, 0x0fae, 1, P::None, O::Memory, 0, I::None, digits(2, 3)),  // LDMXCSR, STMXCSR

    // Floating point
    simd(kMmx, 0x0f2a, 1, P::None),
    simd(kMmx, 0x0f2a, 1, P::P66),
    simd(kFp, 0x0f2a, 1, P::F3),
    simd(kFp, 0x0f2a, 1, P::F2),
    simd(kMmx, 0x0f2c, 2, P::None),
    simd(kMmx, 0x0f2c, 2, P::P66, O::ModRm, kAligned),
    simd(kFp, 0x0f2c, 2, P::F3),
    simd(kFp, 0x0f2c, 2, P::F2),
    simd(kFp, 0x0f2e, 2, P::None),
    simd(kFp, 0x0f2e, 2, P::P66),
    simd(kFp, 0x0f51, 1, P::None, O::ModRm, kAligned),
    simd(kFp, 0x0f51, 1, P::P66, O::ModRm, kAligned),
    simd(kFp, 0x0f51, 1, P::F3),
    simd(kFp, 0x0f51, 1, P::F2),
    simd(kFp, 0x0f52, 2, P::None, O::ModRm, kAligned | kEstimate),
    simd(kFp, 0x0f52, 2, P::F3, O::ModRm, kEstimate),
    simd(kFp, 0x0f54, 4, P::None, O::ModRm, kAligned),
    simd(kFp, 0x0f54, 4, P::P66, O::ModRm, kAligned),
    simd(kFp, 0x0f58, 2, P::None, O::ModRm, kAligned),
    simd(kFp, 0x0f58, 2, P::P66, O::ModRm, kAligned),
    simd(kFp, 0x0f58, 2, P::F3),
    simd(kFp, 0x0f58, 2, P::F2),
    simd(kFp, 0x0f5a, 1, P::None),
    simd(kFp, 0x0f5a, 1, P::P66, O::ModRm, kAligned),
    simd(kFp, 0x0f5a, 1, P::F3),
    simd(kFp, 0x0f5a, 1, P::F2),
    simd(kFp, 0x0f5b, 1, P::None, O::ModRm, kAligned),
    simd(kFp, 0x0f5b, 1, P::P66, O::ModRm, kAligned),
    simd(kFp, 0x0f5b, 1, P::F3, O::ModRm, kAligned),
    simd(kFp, 0x0f5c, 4, P::None, O::ModRm, kAligned),
    simd(kFp, 0x0f5c, 4, P::P66, O::ModRm, kAligned),
    simd(kFp, 0x0f5c, 4, P::F3),
    simd(kFp, 0x0f5c, 4, P::F2),
    simd(kFp, 0x0fc2, 1, P::None, O::ModRm, kAligned, I::Byte),
    simd(kFp, 0x0fc2, 1, P::P66, O::ModRm, kAligned, I::Byte),
    simd(kFp, 0x0fc2, 1, P::F3, O::ModRm, 0, I::Byte),
    simd(kFp, 0x0fc2, 1, P::F2, O::ModRm, 0, I::Byte),
    simd(kFp, 0x0fc6, 1, P::None, O::ModRm, kAligned, I::Byte),
    simd(kFp, 0x0fc6, 1, P::P66, O::ModRm, kAligned, I::Byte),
    simd(kFp, 0x0fe6, 1, P::P66, O::ModRm, kAligned),
    simd(kFp, 0x0fe6, 1, P::F3),
    simd(kFp, 0x0fe6, 1, P::F2, O::ModRm, kAligned),

    // Integers, in MMX and in XMM registers
    simd(kMmx, 0x0f60, 12, P::None),
    simd(kInteger, 0x0f60, 14, P::P66, O::ModRm, kAligned),
    simd(kMmx, 0x0f70, 1, P::None, O::ModRm, 0, I::Byte),
    simd(kInteger, 0x0f70, 1, P::P66, O::ModRm, kAligned, I::Byte),
    simd(kInteger, 0x0f70, 1, P::F3, O::ModRm, kAligned, I::Byte),
    simd(kInteger, 0x0f70, 1, P::F2, O::ModRm, kAligned, I::Byte),
    simd(kMmx, 0x0f71, 2, P::None, O::Register, 0, I::Byte, digit(2) | digit(4) | digit(6)),
    simd(kInteger, 0x0f71, 2, P::P66, O::Register, 0, I::Byte, digit(2) | digit(4) | digit(6)),
    simd(kMmx, 0x0f73, 1, P::None, O::Register, 0, I::Byte, digit(2) | digit(6)),
    simd(kInteger, 0x0f73, 1, P::P66, O::Register, 0, I::Byte, digits(2, 3) | digits(6, 7)),
    simd(kMmx, 0x0f74, 3, P::None),
    simd(kInteger, 0x0f74, 3, P::P66, O::ModRm, kAligned),
    simd(kMmx, 0x0fc4, 1, P::None, O::ModRm, 0, I::Byte),
    simd(kInteger, 0x0fc4, 1, P::P66, O::ModRm, 0, I::Byte),
    simd(kMmx, 0x0fc5, 1, P::None, O::Register, 0, I::Byte),
    simd(kInteger, 0x0fc5, 1, P::P66, O::Register, 0, I::Byte),
    simd(kMmx, 0x0fd1, 5, P::None),
    simd(kInteger, 0x0fd1, 5, P::P66, O::ModRm, kAligned),
    simd(kMmx, 0x0fd8, 14, P::None),
    simd(kInteger, 0x0fd8, 14, P::P66, O::ModRm, kAligned),
    simd(kMmx, 0x0fe8, 8, P::None),
    simd(kInteger, 0x0fe8, 8, P::P66, O::ModRm, kAligned),
    simd(kMmx, 0x0ff1, 6, P::None),
    simd(kInteger, 0x0ff1, 6, P::P66, O::ModRm, kAligned),
    simd(kMmx, 0x0ff8, 7, P::None),
    simd(kInteger, 0x0ff8, 7, P::P66, O::ModRm, kAligned),
};

constexpr char kSaved[] = "saved-state";

constexpr Row kAreas[] = {
    // FXSAVE, FXRSTOR
    simd(kSaved, 0x0fae, 1, P::None, O::Memory, kArea | kAligned | kSeveral, I::None, digits(0, 1)),
    // XSAVE, XRSTOR
    simd(kSaved, 0x0fae, 1, P::None, O::Memory, kArea | kComponents | kAligned | kSeveral, I::None, digits(4, 5)),
};

constexpr char kLater[] = "sse3-4";

constexpr Row kSse34[] = {
    // SSE3
    simd(kLater, 0x0f12, 1, P::F3, O::ModRm, kAligned),
    simd(kLater, 0x0f12, 1, P::F2),
    simd(kLater, 0x0f16, 1, P::F3, O::ModRm, kAligned),
    simd(kLater, 0x0f7c, 2, P::P66, O::ModRm, kAligned),
    simd(kLater, 0x0f7c, 2, P::F2, O::ModRm, kAligned),
    simd(kLater, 0x0fd0, 1, P::P66, O::ModRm, kAligned),
    simd(kLater, 0x0fd0, 1, P::F2, O::ModRm, kAligned),
    simd(kLater, 0x0ff0, 1, P::F2, O::Memory),

    // SSSE3
    simd(kLater, 0x3800, 12, P::None),
    simd(kLater, 0x3800, 12, P::P66, O::ModRm, kAligned),
    simd(kLater, 0x381c, 3, P::None),
    simd(kLater, 0x381c, 3, P::P66, O::ModRm, kAligned),
    simd(kLater, 0x3a0f, 1, P::None, O::ModRm, 0, I::Byte),
    simd(kLater, 0x3a0f, 1, P::P66, O::ModRm, kAligned, I::Byte),

    // SSE4.1
    simd(kLater, 0x3810, 1, P::P66, O::ModRm, kAligned),
    simd(kLater, 0x3814, 2, P::P66, O::ModRm, kAligned),
    simd(kLater, 0x3817, 1, P::P66, O::ModRm, kAligned),
    simd(kLater, 0x3820, 6, P::P66),
    simd(kLater, 0x3828, 2, P::P66, O::ModRm, kAligned),
    simd(kLater, 0x382a, 1, P::P66, O::Memory, kAligned),
    simd(kLater, 0x382b, 1, P::P66, O::ModRm, kAligned),
    simd(kLater, 0x3830, 6, P::P66),
    simd(kLater, 0x3838, 10, P::P66, O::ModRm, kAligned),
    simd(kLater, 0x3a08, 2, P::P66, O::ModRm, kAligned, I::Byte),
    simd(kLater, 0x3a0a, 2, P::P66, O::ModRm, 0, I::Byte),
    simd(kLater, 0x3a0c, 3, P::P66, O::ModRm, kAligned, I::Byte),
    simd(kLater, 0x3a14, 4, P::P66, O::ModRm, 0, I::Byte),
    simd(kLater, 0x3a20, 3, P::P66, O::ModRm, 0, I::Byte),
    simd(kLater, 0x3a40, 2, P::P66, O::ModRm, kAligned | kSums, I::Byte),
    simd(kLater, 0x3a42, 1, P::P66, O::ModRm, kAligned, I::Byte),

    // SSE4.2
    simd(kLater, 0x3837, 1, P::P66, O::ModRm, kAligned),
    simd(kLater, 0x3a60, 4, P::P66, O::ModRm, 0, I::Byte),
    {kLater, kLater, 0x38f0, 2, O::ModRm, I::None, 0, 0, kAnyDigit, M::All, P::F2},
};

}  // namespace

void appendFloatRows(std::vector<Row>& rows) {
  rows.insert(rows.end(), std::begin(kX87), std::end(kX87));
  rows.insert(rows.end(), std::begin(kSimd), std::end(kSimd));
  rows.insert(rows.end(), std::begin(kAreas), std::end(kAreas));
  rows.insert(rows.end(), std::begin(kSse34), std::end(kSse34));
}

}  // namespace nvmm::oracle
