// The operand E of an instruction, as a handler's template sees it: a register or memory, read, written or modified.
#pragma once

#include <mutex>

#include "core.h"
#include "handlers.h"

namespace nvmm::cpu {

enum class Where : uint8_t { Register, Memory, Locked };

// An operation is a struct with a template function `run<T, Where>`, and one of these as its base.
struct Lockable {
  static constexpr bool kLockable = true;
};
struct NotLockable {
  static constexpr bool kLockable = false;
};

template <class I, typename T>
constexpr void addVariants(Variants& variants) {
  Handler* handler = variants.handler[sizeof(T) == 8 ? 3 : sizeof(T) >> 1];
  handler[0] = I::template run<T, Where::Register>;
  handler[1] = I::template run<T, Where::Memory>;
  if constexpr (I::kLockable) handler[2] = I::template run<T, Where::Locked>;
}
template <class I, typename... T>
constexpr Variants variantsFor() {
  Variants variants{};
  (addVariants<I, T>(variants), ...);
  return variants;
}
template <class I>
constexpr Variants variantsOf() {
  return variantsFor<I, uint8_t, uint16_t, uint32_t, uint64_t>();
}
template <class I>
constexpr Variants wideVariantsOf() {  // of the instructions that have no byte form
  return variantsFor<I, uint16_t, uint32_t, uint64_t>();
}

template <typename T, Where kWhere>
inline bool readE(Core& core, const Insn* insn, T& value) {
  if constexpr (kWhere != Where::Register) return core.read<T>(insn->segment, core.address(insn), value);
  value = core.reg<T>(insn->rm);
  return true;
}

template <typename T, Where kWhere>
inline bool writeE(Core& core, const Insn* insn, T value) {
  if constexpr (kWhere != Where::Register) return core.write<T>(insn->segment, core.address(insn), value);
  core.setReg<T>(insn->rm, value);
  return true;
}

// Locked accesses that are not aligned, of all processors, exclude each other.
std::mutex& splitLock();

template <typename T, typename F>
inline T exchangeHost(uint8_t* host, bool locked, F f) {
  if (!locked) {
    T old = loadHost<T>(host);
    storeHost<T>(host, f(old));
    return old;
  }
  if (!aligned<T>(host)) {
    std::lock_guard<std::mutex> guard(splitLock());
    T old = loadHost<T>(host);
    storeHost<T>(host, f(old));
    return old;
  }
  T* target = reinterpret_cast<T*>(host);
  T old = __atomic_load_n(target, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(target, &old, f(old), false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
  }
  return old;
}

template <typename T, typename F>
__attribute__((noinline)) bool modifySlow(Core& core, unsigned seg, uint64_t offset, bool locked, F f, T& old) {
  Span span;
  if (!core.spanSlow(seg, offset, sizeof(T), span)) return false;
  if (span.firstBytes >= sizeof(T)) {
    old = exchangeHost<T>(span.host, locked, f);
  } else {
    std::unique_lock<std::mutex> guard(splitLock(), std::defer_lock);
    if (locked) guard.lock();
    uint8_t bytes[sizeof(T)];
    loadHost(bytes, span.host, span.firstBytes);
    loadHost(bytes + span.firstBytes, span.host2, sizeof(T) - span.firstBytes);
    old = loadHost<T>(bytes);
    storeHost<T>(bytes, f(old));
    storeHost(span.host, bytes, span.firstBytes);
    storeHost(span.host2, bytes + span.firstBytes, sizeof(T) - span.firstBytes);
    core.wrote(span.host2, sizeof(T) - span.firstBytes);
  }
  core.wrote(span.host, span.firstBytes < sizeof(T) ? span.firstBytes : sizeof(T));
  return true;
}

// E = f(E); `old` is what it was. f may be called more than once, so flags are set afterwards.
template <typename T, Where kWhere, typename F>
inline bool modifyE(Core& core, const Insn* insn, F f, T& old, uint64_t displacement = 0) {
  if constexpr (kWhere == Where::Register) {
    old = core.reg<T>(insn->rm);
    core.setReg<T>(insn->rm, f(old));
    return true;
  } else {
    constexpr bool kLocked = kWhere == Where::Locked;
    uint64_t offset = (core.address(insn) + displacement) & insn->addressMask();
    if (uint8_t* host = core.writable<T>(insn->segment, offset)) {
      old = exchangeHost<T>(host, kLocked, f);
      return true;
    }
    return modifySlow<T>(core, insn->segment, offset, kLocked, f, old);
  }
}

}  // namespace nvmm::cpu
