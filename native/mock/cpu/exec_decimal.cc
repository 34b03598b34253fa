// BCD: DAA, DAS, AAA, AAS, AAM, AAD; SALC. Not in 64-bit mode.
#include "core.h"
#include "handlers.h"

namespace nvmm::cpu {
namespace {

constexpr unsigned kAL = 0, kAH = 1;  // as byte registers are named

void setBcd(Core& core, uint8_t al, bool af, bool cf) {
  core.setReg<uint8_t>(kAL, al);
  core.flags.logic<uint8_t>(al);
  core.flags.set(core.flags.get() | (af ? kAF : 0) | (cf ? kCF : 0));
}

template <bool kSubtract>
const Insn* decimalAdjust(Core& core, const Insn* insn) {
  uint8_t al = core.reg<uint8_t>(kAL);
  bool carry = core.flags.cf();
  bool low = (al & 0xf) > 9 || core.flags.af(), high = al > 0x99 || carry;
  uint8_t by = static_cast<uint8_t>((low ? 6 : 0) + (high ? 0x60 : 0));
  // The subtraction of 6 may borrow where nothing is to be done above it.
  bool borrow = kSubtract && low && al < 6;
  setBcd(core, static_cast<uint8_t>(kSubtract ? al - by : al + by), low, high || borrow);
  return next(core, insn);
}

template <bool kSubtract>
const Insn* asciiAdjust(Core& core, const Insn* insn) {
  uint16_t ax = core.reg<uint16_t>(RAX);
  bool adjust = (ax & 0xf) > 9 || core.flags.af();
  if (adjust) ax = static_cast<uint16_t>(kSubtract ? ax - 0x106 : ax + 0x106);
  core.setReg<uint16_t>(RAX, ax & 0xff0f);
  setBcd(core, ax & 0xf, adjust, adjust);
  return next(core, insn);
}

}  // namespace

const Insn* daa(Core& core, const Insn* insn) { return decimalAdjust<false>(core, insn); }
const Insn* das(Core& core, const Insn* insn) { return decimalAdjust<true>(core, insn); }
const Insn* aaa(Core& core, const Insn* insn) { return asciiAdjust<false>(core, insn); }
const Insn* aas(Core& core, const Insn* insn) { return asciiAdjust<true>(core, insn); }

const Insn* salc(Core& core, const Insn* insn) {
  core.setReg<uint8_t>(kAL, core.flags.cf() ? 0xff : 0);
  return next(core, insn);
}

const Insn* aam(Core& core, const Insn* insn) {
  uint8_t base = static_cast<uint8_t>(insn->imm), al = core.reg<uint8_t>(kAL);
  if (base == 0) return fault(core, insn, vector::DE);
  core.setReg<uint8_t>(kAH, al / base);
  setBcd(core, al % base, false, false);
  return next(core, insn);
}

// The flags are those of the addition, though only those of the result are defined.
const Insn* aad(Core& core, const Insn* insn) {
  uint8_t tens = static_cast<uint8_t>(core.reg<uint8_t>(kAH) * insn->imm), al = core.reg<uint8_t>(kAL);
  uint8_t value = static_cast<uint8_t>(al + tens);
  core.setReg<uint16_t>(RAX, value);
  core.flags.arithmetic<uint8_t>(al, tens, value, value < al);
  return next(core, insn);
}

}  // namespace nvmm::cpu
