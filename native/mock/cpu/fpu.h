// The x87 as its instructions see it: the register stack, the status word, exceptions.
#pragma once

#include "core.h"
#include "softfloat.h"

namespace nvmm::cpu {

// FSW
constexpr uint16_t kStackFault = 1 << 6, kErrorSummary = 1 << 7, kC0 = 1 << 8, kC1 = 1 << 9, kC2 = 1 << 10,
                   kTop = 7 << 11, kC3 = 1 << 14, kBusy = 1 << 15;
constexpr unsigned kTopShift = 11;
constexpr uint16_t kConditionCodes = kC0 | kC2 | kC3;

// FCW: bit 6 always reads 1.
constexpr uint16_t kFcwWritable = 0x1f3f, kFcwFixed = 0x40, kFcwInit = 0x37f;

// Whether an unmasked exception waits for the next instruction; what ES and B show.
inline bool pendingException(const FpuImage& fpu) { return fpu.fsw & ~fpu.fcw & fpe::All; }
inline void updateErrorSummary(FpuImage& fpu) {
  fpu.fsw &= static_cast<uint16_t>(~(kErrorSummary | kBusy));
  if (pendingException(fpu)) fpu.fsw |= kErrorSummary | kBusy;
}
inline void setFcw(FpuImage& fpu, uint16_t value) {
  fpu.fcw = static_cast<uint16_t>((value & kFcwWritable) | kFcwFixed);
  updateErrorSummary(fpu);
}

// What a comparison leaves in RFLAGS; the other arithmetic flags are cleared.
constexpr uint64_t orderFlags(Order order) {
  constexpr uint64_t kFlags[] = {kCF, kZF, 0, kZF | kPF | kCF};
  return kFlags[static_cast<unsigned>(order)];
}

// One x87 instruction. It checks ready(), reads memory, then calls begin(), and from then on can't fault.
class X87 {
 public:
  X87(Core& core, const Insn* insn) : core(core), insn(insn), fpu(core.state.fpu) {}

  // False: #NM, or the #MF of an earlier instruction. CR0.NE is not looked at: with NE = 0 a PC reports through FERR#
  // and the interrupt controller, which are not here.
  bool ready() {
    if (core.state.cr0 & (kEM | kTS)) return core.raise(vector::NM);
    return !pendingException(fpu) || core.raise(vector::MF);
  }
  void begin() {
    point();
    clearC1();
  }
  bool start() {  // of an instruction that reads no memory
    if (!ready()) return false;
    begin();
    return true;
  }
  bool startKeepingC1() {
    if (!ready()) return false;
    point();
    return true;
  }

  template <typename T>
  bool read(T& value) {
    return core.read<T>(insn->segment, core.address(insn), value);
  }
  bool read(Float80& value);
  template <typename T>
  bool write(T value) {
    return core.write<T>(insn->segment, core.address(insn), value);
  }
  bool write(Float80 value);
  // Of a store that an exception keeps from being done: AMD's processors look at its place all the same.
  template <typename T>
  bool mayWrite() {
    constexpr unsigned kSize = std::is_same_v<T, Float80> ? 10 : sizeof(T);
    Span span;
    return !core.amd() || core.spanSlow(insn->segment, core.address(insn), kSize, span);
  }

  unsigned operand() const { return insn->rm & 7; }  // i of ST(i)
  unsigned top() const { return (fpu.fsw & kTop) >> kTopShift; }
  void setTop(unsigned top) { fpu.fsw = static_cast<uint16_t>((fpu.fsw & ~kTop) | (top & 7) << kTopShift); }
  bool empty(unsigned i) const { return !(fpu.ftw >> ((top() + i) & 7) & 1); }
  Float80 st(unsigned i) const { return {fpu.st[i].significand, fpu.st[i].signExponent}; }
  void set(unsigned i, Float80 value);
  void free(unsigned i) { fpu.ftw &= static_cast<uint8_t>(~(1 << ((top() + i) & 7))); }
  void rotate(int by);  // TOP += by
  void push(Float80 value) {
    rotate(-1);
    set(0, value);
  }
  void pop() {
    free(0);
    rotate(1);
  }

  void clearC1() { fpu.fsw &= static_cast<uint16_t>(~kC1); }
  void setC1(bool value) {
    if (value) fpu.fsw |= kC1;
  }
  void setC2(bool value) { fpu.fsw = static_cast<uint16_t>((fpu.fsw & ~kC2) | (value ? kC2 : 0)); }
  void setConditionCodes(int codes) { fpu.fsw = static_cast<uint16_t>((fpu.fsw & ~kConditionCodes) | codes); }

  // Records exceptions. False: one of them is not masked, and #MF follows.
  bool signal(uint8_t flags);
  // Of the stack. True: it is masked, and the default NaN takes the place of what is missing, or is pushed.
  bool underflow();
  bool overflow();

  FloatContext context() const {
    FloatContext c;
    c.x87 = true;
    c.masks = fpu.fcw & fpe::All;
    c.rounding = static_cast<Rounding>(fpu.fcw >> 10 & 3);
    return c;
  }
  unsigned precision() const;
  // Rounds a result and stores it in ST(i), unless an exception of the operation forbids. False: it does.
  bool store(FloatContext& context, const Number& result, unsigned i, unsigned precision = 64);

  Core& core;
  const Insn* insn;
  FpuImage& fpu;

 private:
  // The pointers of the last instruction that was no control instruction. Of FOP and FDP, Intel's processors know
  // unmasked exceptions only.
  void point() {
    fpu.fip = core.rip(insn);
    if (core.amd()) pointToOperand();
  }
  void pointToOperand();
};

}  // namespace nvmm::cpu
