// MMX, SSE2 and later: packing, unpacking, shuffling, blending, insertion and extraction of packed integers.
#include "handlers.h"
#include "simd.h"

namespace nvmm::cpu {
namespace {

// ---- Packing and unpacking ------------------------------------------------------------------------------------------

// The lanes of a and then those of b, saturated to half their width.
template <typename From, typename To>
struct Pack {
  template <class Raw>
  static Raw apply(const Raw& a, const Raw& b) {
    const auto x = lanes<From>(a), y = lanes<From>(b);
    Lanes<To, Raw> result;
    for (size_t i = 0; i < x.size(); ++i) {
      result[i] = saturate<To>(x[i]);
      result[x.size() + i] = saturate<To>(y[i]);
    }
    return fromLanes<Raw>(result);
  }
};

// The lanes of one half of a and b by turns.
template <typename T, bool kHigh>
struct Interleave {
  template <class Raw>
  static Raw apply(const Raw& a, const Raw& b) {
    const auto x = lanes<T>(a), y = lanes<T>(b);
    Lanes<T, Raw> result;
    const size_t half = x.size() / 2, first = kHigh ? half : 0;
    for (size_t i = 0; i < half; ++i) {
      result[2 * i] = x[first + i];
      result[2 * i + 1] = y[first + i];
    }
    return fromLanes<Raw>(result);
  }
};
// PUNPCKL of MMX reads only 32 bits of memory.
template <class Operation>
struct InterleaveLowMmx {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    if constexpr (kWhere == Where::Register) {
      return Packed<Operation, Mmx>::template run<kWhere>(core, insn);
    } else {
      uint32_t b;
      if (!mmxAvailable(core) || !core.read<uint32_t>(insn->segment, core.address(insn), b)) return stop(core, insn);
      enterMmx(core);
      put<Mmx>(core, insn->reg, Operation::apply(get<Mmx>(core, insn->reg), Mmx{b}));
      return next(core, insn);
    }
  }
};
template <typename T>
constexpr Variants interleaveLow() {
  using Operation = Interleave<T, false>;
  return byPrefix<InterleaveLowMmx<Operation>, Packed<Operation, Xmm>>();
}
template <typename T>
constexpr Variants interleaveHigh() {
  return mmxAndSse<Interleave<T, true>>();
}

// ---- Shuffling ------------------------------------------------------------------------------------------------------

// Four lanes from `first` on, chosen by two bits each; the others as in b.
template <typename T, unsigned kFirst>
struct Shuffle {
  template <class Raw>
  static Raw apply(const Raw&, const Raw& b, uint8_t order) {
    const auto from = lanes<T>(b);
    auto to = from;
    for (unsigned i = 0; i < 4; ++i) to[kFirst + i] = from[kFirst + (order >> 2 * i & 3)];
    return fromLanes<Raw>(to);
  }
};

template <class Raw>
struct InsertWord {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    uint16_t value;
    if (!available<Raw>(core) || !readE<uint16_t, kWhere>(core, insn, value)) return stop(core, insn);
    begin<Raw>(core);
    auto x = lanes<uint16_t>(get<Raw>(core, insn->reg));
    x[insn->imm & (x.size() - 1)] = value;
    put<Raw>(core, insn->reg, fromLanes<Raw>(x));
    return next(core, insn);
  }
};
template <class Raw>
struct ExtractWord {
  template <Where>
  static const Insn* run(Core& core, const Insn* insn) {
    if (!available<Raw>(core)) return stop(core, insn);
    begin<Raw>(core);
    const auto x = lanes<uint16_t>(get<Raw>(core, insn->rm));
    core.setReg<uint32_t>(insn->reg, x[insn->imm & (x.size() - 1)]);
    return next(core, insn);
  }
};

}  // namespace

V packsswb = mmxAndSse<Pack<int16_t, int8_t>>(), packuswb = mmxAndSse<Pack<int16_t, uint8_t>>(),
  packssdw = mmxAndSse<Pack<int32_t, int16_t>>();
V punpcklbw = interleaveLow<uint8_t>(), punpcklwd = interleaveLow<uint16_t>(), punpckldq = interleaveLow<uint32_t>();
V punpckhbw = interleaveHigh<uint8_t>(), punpckhwd = interleaveHigh<uint16_t>(), punpckhdq = interleaveHigh<uint32_t>();
V punpcklqdq = byPrefix<Absent, Packed<Interleave<uint64_t, false>, Xmm>>(),
  punpckhqdq = byPrefix<Absent, Packed<Interleave<uint64_t, true>, Xmm>>();

V pshufw = byPrefix<PackedImmediate<Shuffle<uint16_t, 0>, Mmx>, PackedImmediate<Shuffle<uint32_t, 0>, Xmm>,
                    PackedImmediate<Shuffle<uint16_t, 4>, Xmm>, PackedImmediate<Shuffle<uint16_t, 0>, Xmm>>();
V pinsrw = byPrefix<InsertWord<Mmx>, InsertWord<Xmm>>(), pextrw = byPrefix<ExtractWord<Mmx>, ExtractWord<Xmm>>();

}  // namespace nvmm::cpu
