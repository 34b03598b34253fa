// MOVS, CMPS, SCAS, LODS, STOS, with their repetitions.
#include "operand.h"

namespace nvmm::cpu {
namespace {

// Elements that one call of a handler moves without a look at Core::deadline.
constexpr uint64_t kPiece = 64;

// How one operation treats one element, and a run of elements that lie in plain memory, upwards, within a page.
// kCompares: it sets flags, and REPE or REPNE may end it.
struct Movs {
  static constexpr bool kSource = true, kDestination = true, kStores = true, kCompares = false;
  template <typename T>
  static uint64_t many(Core&, const Insn*, const uint8_t* from, uint8_t* to, uint64_t count) {
    uint64_t size = count * sizeof(T);
    // Overlapping upwards, each element must see those before it.
    if (to > from && to < from + size) {
      for (uint64_t i = 0; i < count; ++i) storeHost<T>(to + i * sizeof(T), loadHost<T>(from + i * sizeof(T)));
    } else {
      copyHost(to, from, size);
    }
    return count;
  }
  template <typename T>
  static bool single(Core& core, const Insn* insn, uint64_t from, uint64_t to) {
    T value;
    return core.read<T>(insn->segment, from, value) && core.write<T>(ES, to, value);
  }
};

struct Stos {
  static constexpr bool kSource = false, kDestination = true, kStores = true, kCompares = false;
  template <typename T>
  static uint64_t many(Core& core, const Insn*, const uint8_t*, uint8_t* to, uint64_t count) {
    T value = core.reg<T>(RAX);
    if (value == static_cast<T>(uint64_t{0x0101010101010101} * (value & 0xff))) {
      fillHost(to, static_cast<uint8_t>(value), count * sizeof(T));
    } else {
      for (uint64_t i = 0; i < count; ++i) storeHost<T>(to + i * sizeof(T), value);
    }
    return count;
  }
  template <typename T>
  static bool single(Core& core, const Insn*, uint64_t, uint64_t to) {
    return core.write<T>(ES, to, core.reg<T>(RAX));
  }
};

struct Lods {
  static constexpr bool kSource = true, kDestination = false, kStores = false, kCompares = false;
  template <typename T>
  static uint64_t many(Core& core, const Insn*, const uint8_t* from, uint8_t*, uint64_t count) {
    core.setReg<T>(RAX, loadHost<T>(from + (count - 1) * sizeof(T)));
    return count;
  }
  template <typename T>
  static bool single(Core& core, const Insn* insn, uint64_t from, uint64_t) {
    T value;
    if (!core.read<T>(insn->segment, from, value)) return false;
    core.setReg<T>(RAX, value);
    return true;
  }
};

template <typename T>
void compare(Core& core, T a, T b) {
  core.flags.arithmetic<T>(a, b, static_cast<T>(a - b), a < b);
}

// The first of `count` elements that ends the repetition, else the last: groups are searched for any before one by one.
template <typename F>
uint64_t firstToEnd(uint64_t count, F ends) {
  constexpr unsigned kGroup = 32;
  uint64_t i = 0;
  for (bool any = false; count - i > kGroup; i += kGroup) {
    for (unsigned k = 0; k < kGroup; ++k) any |= ends(i + k);
    if (any) break;
  }
  while (i < count - 1 && !ends(i)) ++i;
  return i;
}

struct Scas {
  static constexpr bool kSource = false, kDestination = true, kStores = false, kCompares = true;
  template <typename T>
  static uint64_t many(Core& core, const Insn* insn, const uint8_t*, uint8_t* to, uint64_t count) {
    T a = core.reg<T>(RAX);
    bool whileEqual = insn->repeat == 0xf3;
    uint64_t at = firstToEnd(count, [=](uint64_t i) { return (a == loadHost<T>(to + i * sizeof(T))) != whileEqual; });
    compare<T>(core, a, loadHost<T>(to + at * sizeof(T)));
    return at + 1;
  }
  template <typename T>
  static bool single(Core& core, const Insn*, uint64_t, uint64_t to) {
    T value;
    if (!core.read<T>(ES, to, value)) return false;
    compare<T>(core, core.reg<T>(RAX), value);
    return true;
  }
};

struct Cmps {
  static constexpr bool kSource = true, kDestination = true, kStores = false, kCompares = true;
  template <typename T>
  static uint64_t many(Core& core, const Insn* insn, const uint8_t* from, uint8_t* to, uint64_t count) {
    bool whileEqual = insn->repeat == 0xf3;
    uint64_t at = firstToEnd(count, [=](uint64_t i) {
      return (loadHost<T>(from + i * sizeof(T)) == loadHost<T>(to + i * sizeof(T))) != whileEqual;
    });
    compare<T>(core, loadHost<T>(from + at * sizeof(T)), loadHost<T>(to + at * sizeof(T)));
    return at + 1;
  }
  template <typename T>
  static bool single(Core& core, const Insn* insn, uint64_t from, uint64_t to) {
    T a, b;
    if (!core.read<T>(ES, to, b) || !core.read<T>(insn->segment, from, a)) return false;
    compare<T>(core, a, b);
    return true;
  }
};

// Elements from `offset` upwards that are in one page of plain memory, at most `count`; where they start.
template <typename T>
uint64_t run(Core& core, unsigned seg, uint64_t offset, bool stores, uint64_t mask, uint64_t count, uint8_t*& host) {
  host = stores ? core.writable<T>(seg, offset) : core.readable<T>(seg, offset);
  if (!host) return 0;
  const Core::SegmentWindow& window = core.window[seg];
  uint64_t bytes = 0x1000 - ((window.base + offset) & 0xfff);
  uint64_t end = stores ? window.writeEnd : window.readEnd;  // offset < end
  if (end - offset < bytes) bytes = end - offset;
  if (mask - offset < bytes - 1) bytes = mask - offset + 1;
  uint64_t elements = bytes / sizeof(T);
  return elements < count ? elements : count;
}

template <class Op>
struct String : NotLockable {
  template <typename T, Where>
  static const Insn* run(Core& core, const Insn* insn) {
    uint64_t mask = insn->addressMask();
    uint64_t* gpr = core.state.gpr;
    uint64_t count = insn->repeat ? gpr[RCX] & mask : 1;
    // With a 32-bit address size Intel's processors extend the count, and the addresses of stores, whatever happens.
    if (insn->repeat && mask == 0xffffffff && !core.amd()) {
      gpr[RCX] = count;
      if (Op::kStores) gpr[RDI] &= mask;
      if (Op::kStores && Op::kSource) gpr[RSI] &= mask;
    }
    if (count == 0) return next(core, insn);
    // Flags change with each element on AMD's processors, on Intel's only when the repetition is over.
    const bool restores = Op::kCompares && !core.amd();
    const Flags before = core.flags;
    bool down = core.state.rflags & kDF;
    uint64_t stopAt = core.deadline.load(std::memory_order_relaxed);
    // Stepping, each iteration is an instruction.
    unsigned pieces = 0, most = core.block->mode & kModeSingle ? 1 : kPiece;
    for (;;) {
      uint64_t from = gpr[RSI] & mask, to = gpr[RDI] & mask, done = 0;
      if (!down && most != 1 && count > 1) {
        uint8_t *source = nullptr, *destination = nullptr;
        done = count;
        if (Op::kSource) done = cpu::run<T>(core, insn->segment, from, false, mask, done, source);
        if (Op::kDestination && done) done = cpu::run<T>(core, ES, to, Op::kStores, mask, done, destination);
        if (done) done = Op::template many<T>(core, insn, source, destination, done);
      }
      if (done == 0) {
        if (!Op::template single<T>(core, insn, from, to)) {
          if (restores) core.flags = before;
          return stop(core, insn);
        }
        done = 1;
      }
      uint64_t step = down ? -done * sizeof(T) : done * sizeof(T);
      if (Op::kSource) core.setMasked(RSI, from + step, mask);
      if (Op::kDestination) core.setMasked(RDI, to + step, mask);
      if (!insn->repeat) return next(core, insn);
      count -= done;
      core.setMasked(RCX, count, mask);
      if (count == 0) return next(core, insn);
      if (Op::kCompares && core.flags.zf() != (insn->repeat == 0xf3)) return next(core, insn);
      // Interruptible here. The clock goes on too, or a long repetition would outlast every budget.
      if (++pieces == most || core.retired + insn->number + pieces >= stopAt) break;
    }
    if (restores) core.flags = before;
    core.retired += pieces;
    stop(core, insn);
    return nullptr;
  }
};

}  // namespace

V movs = variantsOf<String<Movs>>(), cmps = variantsOf<String<Cmps>>(), scas = variantsOf<String<Scas>>(),
  lods = variantsOf<String<Lods>>(), stos = variantsOf<String<Stos>>();

}  // namespace nvmm::cpu
