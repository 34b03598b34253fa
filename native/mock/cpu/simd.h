// Operands of MMX and SSE instructions. Their handlers are chosen by the mandatory prefix, and by whether the operand Q
// or W is in memory.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include "fpu.h"
#include "operand.h"

namespace nvmm::cpu {

inline bool sseAvailable(Core& core) {
  if (__builtin_expect(!(core.state.cr0 & (kEM | kTS)) && core.state.cr4 & kOSFXSR, true)) return true;
  return core.raise(core.state.cr0 & kEM || !(core.state.cr4 & kOSFXSR) ? vector::UD : vector::NM);
}
inline bool mmxAvailable(Core& core) {
  if (core.state.cr0 & kEM) return core.raise(vector::UD);
  if (core.state.cr0 & kTS) return core.raise(vector::NM);
  return !pendingException(core.state.fpu) || core.raise(vector::MF);
}

// ---- Registers as arrays of lanes -----------------------------------------------------------------------------------

using Mmx = uint64_t;

template <typename T, class Raw>
using Lanes = std::array<T, sizeof(Raw) / sizeof(T)>;

template <typename T, class Raw>
inline Lanes<T, Raw> lanes(const Raw& raw) {
  Lanes<T, Raw> result;
  std::memcpy(&result, &raw, sizeof(raw));
  return result;
}
template <class Raw, typename T, size_t kCount>
inline Raw fromLanes(const std::array<T, kCount>& lanes) {
  static_assert(sizeof(Raw) == sizeof(lanes));
  Raw result;
  std::memcpy(&result, &lanes, sizeof(result));
  return result;
}

// Each lane f(a, b).
template <typename T, class Raw, class F>
inline Raw mapLanes(const Raw& a, const Raw& b, F f) {
  auto x = lanes<T>(a);
  const auto y = lanes<T>(b);
  for (size_t i = 0; i < x.size(); ++i) x[i] = f(x[i], y[i]);
  return fromLanes<Raw>(x);
}

// ---- The register files ---------------------------------------------------------------------------------------------

// What differs between MMX and SSE: Mmx and Xmm tell them apart.
template <class Raw>
bool available(Core& core);
template <>
inline bool available<Mmx>(Core& core) {
  return mmxAvailable(core);
}
template <>
inline bool available<Xmm>(Core& core) {
  return sseAvailable(core);
}

// Every MMX instruction makes all x87 registers valid, with TOP = 0; one that loads from memory, once that is done. One
// that stores has set TOP even if it faults.
void enterMmx(Core& core);
void resetTop(Core& core);
template <class Raw>
inline void begin(Core& core) {
  if constexpr (std::is_same_v<Raw, Mmx>) enterMmx(core);
}
template <class Raw>
inline void beginStore(Core& core) {
  if constexpr (std::is_same_v<Raw, Mmx>) resetTop(core);
}

template <class Raw>
inline Raw get(const Core& core, unsigned r) {
  if constexpr (std::is_same_v<Raw, Mmx>) {
    const FpuImage& fpu = core.state.fpu;
    return fpu.st[(r - ((fpu.fsw & kTop) >> kTopShift)) & 7].significand;
  } else {
    return core.state.fpu.xmm[r];
  }
}
template <class Raw>
inline void put(Core& core, unsigned r, const Raw& value) {
  if constexpr (std::is_same_v<Raw, Mmx>) {
    core.state.fpu.st[r & 7].significand = value;  // after enterMmx()
    core.state.fpu.st[r & 7].signExponent = 0xffff;
  } else {
    core.state.fpu.xmm[r] = value;
  }
}

// ---- The operand Q or W ---------------------------------------------------------------------------------------------

inline bool alignedOperand(Core& core, const Insn* insn) {
  return !((core.window[insn->segment].base + core.address(insn)) & 15) || core.raise(vector::GP, 0);
}

// What every instruction begins with: checks, the source operand, the state of the x87. False: a fault is recorded.
// `kAligned`: operands of 16 bytes fault if they aren't.
template <class Raw, Where kWhere, bool kAligned = true>
inline bool start(Core& core, const Insn* insn, Raw& source) {
  if (!available<Raw>(core)) return false;
  if constexpr (kWhere == Where::Memory) {
    if (std::is_same_v<Raw, Xmm> && kAligned && !alignedOperand(core, insn)) return false;
    if (!core.read<Raw>(insn->segment, core.address(insn), source)) return false;
  }
  begin<Raw>(core);
  if constexpr (kWhere == Where::Register) source = get<Raw>(core, insn->rm);
  return true;
}

// The same for a source that is the low lane of an XMM register, or as much of memory.
template <typename T, Where kWhere>
inline bool startScalar(Core& core, const Insn* insn, T& source) {
  if (!sseAvailable(core)) return false;
  if constexpr (kWhere == Where::Memory) return core.read<T>(insn->segment, core.address(insn), source);
  source = lanes<T>(core.state.fpu.xmm[insn->rm])[0];
  return true;
}

template <typename T>
inline void putLow(Core& core, unsigned r, T value) {
  auto x = lanes<T>(core.state.fpu.xmm[r]);
  x[0] = value;
  core.state.fpu.xmm[r] = fromLanes<Xmm>(x);
}

// ---- Tables by prefix -----------------------------------------------------------------------------------------------

// An instruction is a struct with a template function run<Where>.
struct Absent {
  template <Where>
  static constexpr Handler run = nullptr;
};
template <class None, class P66 = Absent, class F3 = Absent, class F2 = Absent>
constexpr Variants byPrefix() {
  return {{{None::template run<Where::Register>, None::template run<Where::Memory>},
           {P66::template run<Where::Register>, P66::template run<Where::Memory>},
           {F3::template run<Where::Register>, F3::template run<Where::Memory>},
           {F2::template run<Where::Register>, F2::template run<Where::Memory>}}};
}

// ---- Forms of instructions ------------------------------------------------------------------------------------------

// V = f(V, W) on whole registers.
template <class Operation, class Raw>
struct Packed {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    Raw b;
    if (!start<Raw, kWhere>(core, insn, b)) return stop(core, insn);
    put<Raw>(core, insn->reg, Operation::apply(get<Raw>(core, insn->reg), b));
    return next(core, insn);
  }
};
// The same with an immediate.
template <class Operation, class Raw>
struct PackedImmediate {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    Raw b;
    if (!start<Raw, kWhere>(core, insn, b)) return stop(core, insn);
    put<Raw>(core, insn->reg, Operation::apply(get<Raw>(core, insn->reg), b, static_cast<uint8_t>(insn->imm)));
    return next(core, insn);
  }
};
template <class Operation>
constexpr Variants mmxAndSse() {
  return byPrefix<Packed<Operation, Mmx>, Packed<Operation, Xmm>>();
}

template <class Operation>
constexpr Variants sseOnly() {  // of a form without prefix and one with 66 that do the same
  return byPrefix<Packed<Operation, Xmm>, Packed<Operation, Xmm>>();
}
template <class Operation>
constexpr Variants sse66() {
  return byPrefix<Absent, Packed<Operation, Xmm>>();
}

// The value of the range of T that is nearest.
template <typename T>
constexpr T saturate(int value) {
  return static_cast<T>(std::clamp<int>(value, std::numeric_limits<T>::min(), std::numeric_limits<T>::max()));
}

}  // namespace nvmm::cpu
