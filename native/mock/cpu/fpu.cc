#include "fpu.h"

#include <algorithm>

namespace nvmm::cpu {

bool X87::read(Float80& value) {
  uint8_t bytes[10];
  if (!core.readSlow(insn->segment, core.address(insn), bytes, sizeof(bytes))) return false;
  value = {loadHost<uint64_t>(bytes), loadHost<uint16_t>(bytes + 8)};
  return true;
}

bool X87::write(Float80 value) {
  uint8_t bytes[10];
  storeHost(bytes, value.significand);
  storeHost(bytes + 8, value.signExponent);
  return core.writeSlow(insn->segment, core.address(insn), bytes, sizeof(bytes));
}

void X87::set(unsigned i, Float80 value) {
  fpu.st[i].significand = value.significand;
  fpu.st[i].signExponent = value.signExponent;
  fpu.ftw |= static_cast<uint8_t>(1 << ((top() + i) & 7));
}

void X87::rotate(int by) {
  const auto first = fpu.st[0], last = fpu.st[7];
  if (by == 1) {
    std::copy(fpu.st + 1, fpu.st + 8, fpu.st);
    fpu.st[7] = first;
  } else if (by == -1) {
    std::copy_backward(fpu.st, fpu.st + 7, fpu.st + 8);
    fpu.st[0] = last;
  } else {
    std::rotate(fpu.st, fpu.st + (by & 7), fpu.st + 8);
  }
  setTop(top() + static_cast<unsigned>(by));
}

bool X87::signal(uint8_t flags) {
  fpu.fsw |= flags;
  if (!(flags & ~fpu.fcw)) return true;
  fpu.fsw |= kErrorSummary | kBusy;
  pointToOperand();
  return false;
}

void X87::pointToOperand() {
  const uint8_t* opcode = core.block->bytes + insn->offset;
  while ((*opcode & 0xf8) != 0xd8) ++opcode;
  fpu.fop = static_cast<uint16_t>((opcode[0] & 7) << 8 | opcode[1]);
  if (insn->memory) fpu.fdp = core.address(insn);
}

bool X87::underflow() {
  clearC1();
  fpu.fsw |= kStackFault;
  return signal(fpe::IE);
}

bool X87::overflow() {
  fpu.fsw |= kStackFault | kC1;
  return signal(fpe::IE);
}

unsigned X87::precision() const {
  constexpr unsigned kPrecisions[] = {24, 64, 53, 64};
  return kPrecisions[fpu.fcw >> 8 & 3];
}

bool X87::store(FloatContext& context, const Number& result, unsigned i, unsigned precision) {
  if (context.unmasked() & fpe::kBeforeOperation) {
    signal(context.flags & fpe::kBeforeOperation);
    return false;
  }
  set(i, pack<Float80>(context, result, precision));
  setC1(context.roundedUp);
  signal(context.flags);
  return true;
}

}  // namespace nvmm::cpu
