// x87: control and status words, the environment and the whole state in memory, WAIT.
#include <cstring>

#include "fpu.h"
#include "handlers.h"

namespace nvmm::cpu {
namespace {

// Instructions that look at no exception: FN...
bool available(Core& core) { return !(core.state.cr0 & (kEM | kTS)) || core.raise(vector::NM); }

enum Tag : unsigned { kValid, kZeroTag, kSpecial, kEmpty };

Tag classify(Float80 value) {
  const unsigned exponent = value.signExponent & 0x7fff;
  if (exponent == 0 && value.significand == 0) return kZeroTag;
  return exponent == 0 || exponent == 0x7fff || !(value.significand >> 63) ? kSpecial : kValid;
}

uint16_t tagWord(const X87& x) {
  unsigned tags = 0;
  for (unsigned i = 0; i < 8; ++i) {
    tags |= (x.empty(i) ? kEmpty : classify(x.st(i))) << 2 * ((x.top() + i) & 7);
  }
  return static_cast<uint16_t>(tags);
}

uint8_t abridged(uint16_t tags) {
  unsigned valid = 0;
  for (unsigned r = 0; r < 8; ++r) valid |= ((tags >> 2 * r & 3) != kEmpty) << r;
  return static_cast<uint8_t>(valid);
}

// What FSTENV stores: seven fields of 16 or 32 bits.
struct Environment {
  static constexpr unsigned kFields = 7;
  uint32_t field[kFields];
};

// In real and virtual-8086 mode the pointers are linear: their upper parts lie beside the opcode.
bool linearPointers(const Core& core) { return core.realMode() || core.v86(); }

Environment environment(const X87& x) {
  const FpuImage& f = x.fpu;
  const auto fip = static_cast<uint32_t>(f.fip), fdp = static_cast<uint32_t>(f.fdp);
  const uint32_t fop = f.fop & 0x7ff, unused = 0xffff0000;
  Environment e = {{unused | f.fcw, unused | f.fsw, unused | tagWord(x), fip, fop << 16, fdp, unused}};
  if (linearPointers(x.core)) {
    e.field[3] = unused | fip;
    e.field[4] = (fip >> 16 << 12 & 0x0ffff000) | fop;
    e.field[5] = unused | fdp;
    e.field[6] = fdp >> 16 << 12 & 0x0ffff000;
  }
  return e;
}

void setEnvironment(X87& x, const Environment& e) {
  FpuImage& f = x.fpu;
  const auto fsw = static_cast<uint16_t>(e.field[1]);
  x.rotate(static_cast<int>((fsw & kTop) >> kTopShift) - static_cast<int>(x.top()));
  f.fsw = fsw;
  f.ftw = abridged(static_cast<uint16_t>(e.field[2]));
  setFcw(f, static_cast<uint16_t>(e.field[0]));
  if (linearPointers(x.core)) {
    f.fip = (e.field[3] & 0xffff) | (e.field[4] & 0x0ffff000) << 4;
    f.fdp = (e.field[5] & 0xffff) | (e.field[6] & 0x0ffff000) << 4;
    f.fop = e.field[4] & 0x7ff;
  } else {
    f.fip = e.field[3];
    f.fdp = e.field[5];
    f.fop = e.field[4] >> 16 & 0x7ff;  // 0 in the form of 16 bits
  }
}

constexpr unsigned kRegisterBytes = 10, kMaxImage = Environment::kFields * 4 + 8 * kRegisterBytes;

unsigned environmentBytes(const Insn* insn) { return Environment::kFields * (insn->operandSize == 2 ? 2u : 4u); }

void storeEnvironment(const X87& x, uint8_t* to) {
  const Environment e = environment(x);
  const unsigned size = environmentBytes(x.insn) / Environment::kFields;
  for (unsigned i = 0; i < Environment::kFields; ++i) std::memcpy(to + i * size, &e.field[i], size);
}

void loadEnvironment(X87& x, const uint8_t* from) {
  Environment e{};
  const unsigned size = environmentBytes(x.insn) / Environment::kFields;
  for (unsigned i = 0; i < Environment::kFields; ++i) std::memcpy(&e.field[i], from + i * size, size);
  setEnvironment(x, e);
}

void initialize(X87& x) {
  x.rotate(-static_cast<int>(x.top()));
  x.fpu.fcw = kFcwInit;
  x.fpu.fsw = 0;
  x.fpu.ftw = 0;
  x.fpu.fop = 0;
  x.fpu.fip = x.fpu.fdp = 0;
}

}  // namespace

const Insn* fldcw(Core& core, const Insn* insn) {
  X87 x(core, insn);
  uint16_t value;
  if (!x.ready() || !x.read(value)) return stop(core, insn);
  setFcw(x.fpu, value);
  return next(core, insn);
}

const Insn* fnstcw(Core& core, const Insn* insn) {
  X87 x(core, insn);
  return available(core) && x.write(x.fpu.fcw) ? next(core, insn) : stop(core, insn);
}

const Insn* fnstsw(Core& core, const Insn* insn) {
  X87 x(core, insn);
  return available(core) && x.write(x.fpu.fsw) ? next(core, insn) : stop(core, insn);
}

const Insn* fnstswAx(Core& core, const Insn* insn) {
  if (!available(core)) return stop(core, insn);
  core.setReg<uint16_t>(RAX, core.state.fpu.fsw);
  return next(core, insn);
}

const Insn* fnclex(Core& core, const Insn* insn) {
  if (!available(core)) return stop(core, insn);
  core.state.fpu.fsw &= static_cast<uint16_t>(~(fpe::All | kStackFault | kErrorSummary | kBusy));
  return next(core, insn);
}

const Insn* fninit(Core& core, const Insn* insn) {
  X87 x(core, insn);
  if (!available(core)) return stop(core, insn);
  initialize(x);
  return next(core, insn);
}

// FENI, FDISI, FSETPM of its ancestors.
const Insn* fnIgnored(Core& core, const Insn* insn) { return available(core) ? next(core, insn) : stop(core, insn); }

const Insn* fnstenv(Core& core, const Insn* insn) {
  X87 x(core, insn);
  uint8_t image[kMaxImage];
  if (!available(core)) return stop(core, insn);
  storeEnvironment(x, image);
  if (!core.writeSlow(insn->segment, core.address(insn), image, environmentBytes(insn))) return stop(core, insn);
  setFcw(x.fpu, x.fpu.fcw | fpe::All);
  return next(core, insn);
}

const Insn* fldenv(Core& core, const Insn* insn) {
  X87 x(core, insn);
  uint8_t image[kMaxImage];
  if (!x.ready() || !core.readSlow(insn->segment, core.address(insn), image, environmentBytes(insn)))
    return stop(core, insn);
  loadEnvironment(x, image);
  return next(core, insn);
}

const Insn* fnsave(Core& core, const Insn* insn) {
  X87 x(core, insn);
  uint8_t image[kMaxImage];
  if (!available(core)) return stop(core, insn);
  storeEnvironment(x, image);
  uint8_t* registers = image + environmentBytes(insn);
  for (unsigned i = 0; i < 8; ++i) std::memcpy(registers + i * kRegisterBytes, &x.fpu.st[i], kRegisterBytes);
  const unsigned size = environmentBytes(insn) + 8 * kRegisterBytes;
  if (!core.writeSlow(insn->segment, core.address(insn), image, size)) return stop(core, insn);
  initialize(x);
  return next(core, insn);
}

const Insn* frstor(Core& core, const Insn* insn) {
  X87 x(core, insn);
  uint8_t image[kMaxImage];
  const unsigned size = environmentBytes(insn) + 8 * kRegisterBytes;
  if (!x.ready() || !core.readSlow(insn->segment, core.address(insn), image, size)) return stop(core, insn);
  loadEnvironment(x, image);
  const uint8_t* registers = image + environmentBytes(insn);
  for (unsigned i = 0; i < 8; ++i) std::memcpy(&x.fpu.st[i], registers + i * kRegisterBytes, kRegisterBytes);
  return next(core, insn);
}

const Insn* wait(Core& core, const Insn* insn) {
  constexpr uint64_t kWaitTraps = kMP | kTS;
  if ((core.state.cr0 & kWaitTraps) == kWaitTraps) return fault(core, insn, vector::NM);
  if (pendingException(core.state.fpu)) return fault(core, insn, vector::MF);
  return next(core, insn);
}

}  // namespace nvmm::cpu
