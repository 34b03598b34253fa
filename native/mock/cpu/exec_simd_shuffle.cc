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

// PSHUFB: each byte of b chooses one of a, or zero.
struct ShuffleBytes {
  template <class Raw>
  static Raw apply(const Raw& a, const Raw& b) {
    const auto from = lanes<uint8_t>(a);
    auto to = lanes<uint8_t>(b);
    for (uint8_t& byte : to) byte = byte & 0x80 ? 0 : from[byte & (from.size() - 1)];
    return fromLanes<Raw>(to);
  }
};

// SHUFPS, SHUFPD: half of the lanes from a, half from b.
struct ShuffleSingle {
  static Xmm apply(const Xmm& a, const Xmm& b, uint8_t order) {
    const auto x = lanes<uint32_t>(a), y = lanes<uint32_t>(b);
    return fromLanes<Xmm>(Lanes<uint32_t, Xmm>{x[order & 3], x[order >> 2 & 3], y[order >> 4 & 3], y[order >> 6]});
  }
};
struct ShuffleDouble {
  static Xmm apply(const Xmm& a, const Xmm& b, uint8_t order) { return {{a.lane[order & 1], b.lane[order >> 1 & 1]}}; }
};

// PALIGNR: the bytes of a above those of b, shifted right by so many bytes.
struct Align {
  template <class Raw>
  static Raw apply(const Raw& a, const Raw& b, uint8_t count) {
    const auto high = lanes<uint8_t>(a), low = lanes<uint8_t>(b);
    Lanes<uint8_t, Raw> result{};
    constexpr size_t kSize = sizeof(Raw);
    for (size_t i = 0; i < kSize; ++i) {
      const size_t at = i + count;
      if (at < 2 * kSize) result[i] = at < kSize ? low[at] : high[at - kSize];
    }
    return fromLanes<Raw>(result);
  }
};

// ---- Blending and extending (SSE4.1) --------------------------------------------------------------------------------

// The lanes of b that the immediate names, the others of a.
template <typename T>
struct Blend {
  static Xmm apply(const Xmm& a, const Xmm& b, uint8_t chosen) {
    auto x = lanes<T>(a);
    const auto y = lanes<T>(b);
    for (size_t i = 0; i < x.size(); ++i) {
      if (chosen >> i & 1) x[i] = y[i];
    }
    return fromLanes<Xmm>(x);
  }
};
// Those whose sign bit is set in XMM0.
template <typename T>
struct BlendByMask {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    Xmm b;
    if (!start<Xmm, kWhere>(core, insn, b)) return stop(core, insn);
    auto x = lanes<T>(get<Xmm>(core, insn->reg));
    const auto y = lanes<T>(b), mask = lanes<T>(get<Xmm>(core, 0));
    for (size_t i = 0; i < x.size(); ++i) {
      if (mask[i] >> (sizeof(T) * 8 - 1)) x[i] = y[i];
    }
    put<Xmm>(core, insn->reg, fromLanes<Xmm>(x));
    return next(core, insn);
  }
};

// PMOVSX, PMOVZX: the lowest lanes of W, as many as the wider ones are.
template <typename From, typename To>
struct Extend {
  static constexpr size_t kCount = sizeof(Xmm) / sizeof(To);
  using Source = std::conditional_t<kCount * sizeof(From) == 8, uint64_t,
                                    std::conditional_t<kCount * sizeof(From) == 4, uint32_t, uint16_t>>;
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    Source source;
    if (!startScalar<Source, kWhere>(core, insn, source)) return stop(core, insn);
    const auto from = lanes<From>(source);
    Lanes<To, Xmm> to;
    for (size_t i = 0; i < kCount; ++i) to[i] = from[i];
    put<Xmm>(core, insn->reg, fromLanes<Xmm>(to));
    return next(core, insn);
  }
};

// ---- Single lanes ---------------------------------------------------------------------------------------------------

// From a general register or memory; the lane has the type T.
template <typename T>
struct Insert {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    T value;
    if (!sseAvailable(core)) return stop(core, insn);
    if constexpr (kWhere == Where::Register) {
      value = static_cast<T>(core.reg<uint64_t>(insn->rm));
    } else {
      if (!core.read<T>(insn->segment, core.address(insn), value)) return stop(core, insn);
    }
    auto x = lanes<T>(get<Xmm>(core, insn->reg));
    x[insn->imm & (x.size() - 1)] = value;
    put<Xmm>(core, insn->reg, fromLanes<Xmm>(x));
    return next(core, insn);
  }
};
// To a general register, zero-extended, or memory.
template <typename T>
struct Extract {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    if (!sseAvailable(core)) return stop(core, insn);
    const auto x = lanes<T>(get<Xmm>(core, insn->reg));
    const T value = x[insn->imm & (x.size() - 1)];
    if constexpr (kWhere == Where::Register) {
      core.setReg<uint64_t>(insn->rm, value);
    } else {
      if (!core.write<T>(insn->segment, core.address(insn), value)) return stop(core, insn);
    }
    return next(core, insn);
  }
};
// PINSRD or PINSRQ, PEXTRD or PEXTRQ.
template <template <typename> class Access>
struct BySize {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    return insn->operandSize == 8 ? Access<uint64_t>::template run<kWhere>(core, insn)
                                  : Access<uint32_t>::template run<kWhere>(core, insn);
  }
};

// INSERTPS: a lane of W, or the memory operand, to a lane of V; then lanes are cleared.
struct InsertSingle {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    uint32_t value;
    if (!startScalar<uint32_t, kWhere>(core, insn, value)) return stop(core, insn);
    const auto control = static_cast<uint8_t>(insn->imm);
    if (kWhere == Where::Register) value = lanes<uint32_t>(get<Xmm>(core, insn->rm))[control >> 6];
    auto x = lanes<uint32_t>(get<Xmm>(core, insn->reg));
    x[control >> 4 & 3] = value;
    for (size_t i = 0; i < x.size(); ++i) {
      if (control >> i & 1) x[i] = 0;
    }
    put<Xmm>(core, insn->reg, fromLanes<Xmm>(x));
    return next(core, insn);
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

V unpcklps = byPrefix<Packed<Interleave<uint32_t, false>, Xmm>, Packed<Interleave<uint64_t, false>, Xmm>>(),
  unpckhps = byPrefix<Packed<Interleave<uint32_t, true>, Xmm>, Packed<Interleave<uint64_t, true>, Xmm>>(),
  shufps = byPrefix<PackedImmediate<ShuffleSingle, Xmm>, PackedImmediate<ShuffleDouble, Xmm>>();

// SSSE3
V pshufb = mmxAndSse<ShuffleBytes>(), palignr = byPrefix<PackedImmediate<Align, Mmx>, PackedImmediate<Align, Xmm>>();

// SSE4.1
V packusdw = sse66<Pack<int32_t, uint16_t>>();
V blendps = byPrefix<Absent, PackedImmediate<Blend<uint32_t>, Xmm>>(),
  blendpd = byPrefix<Absent, PackedImmediate<Blend<uint64_t>, Xmm>>(),
  pblendw = byPrefix<Absent, PackedImmediate<Blend<uint16_t>, Xmm>>();
V blendvps = byPrefix<Absent, BlendByMask<uint32_t>>(), blendvpd = byPrefix<Absent, BlendByMask<uint64_t>>(),
  pblendvb = byPrefix<Absent, BlendByMask<uint8_t>>();
V pmovsxbw = byPrefix<Absent, Extend<int8_t, int16_t>>(), pmovsxbd = byPrefix<Absent, Extend<int8_t, int32_t>>(),
  pmovsxbq = byPrefix<Absent, Extend<int8_t, int64_t>>(), pmovsxwd = byPrefix<Absent, Extend<int16_t, int32_t>>(),
  pmovsxwq = byPrefix<Absent, Extend<int16_t, int64_t>>(), pmovsxdq = byPrefix<Absent, Extend<int32_t, int64_t>>();
V pmovzxbw = byPrefix<Absent, Extend<uint8_t, uint16_t>>(), pmovzxbd = byPrefix<Absent, Extend<uint8_t, uint32_t>>(),
  pmovzxbq = byPrefix<Absent, Extend<uint8_t, uint64_t>>(), pmovzxwd = byPrefix<Absent, Extend<uint16_t, uint32_t>>(),
  pmovzxwq = byPrefix<Absent, Extend<uint16_t, uint64_t>>(), pmovzxdq = byPrefix<Absent, Extend<uint32_t, uint64_t>>();
V pinsrb = byPrefix<Absent, Insert<uint8_t>>(), pinsrd = byPrefix<Absent, BySize<Insert>>(),
  pextrb = byPrefix<Absent, Extract<uint8_t>>(), pextrwTo = byPrefix<Absent, Extract<uint16_t>>(),
  pextrd = byPrefix<Absent, BySize<Extract>>(), extractps = byPrefix<Absent, Extract<uint32_t>>(),
  insertps = byPrefix<Absent, InsertSingle>();

}  // namespace nvmm::cpu
