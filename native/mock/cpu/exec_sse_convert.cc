// SSE, SSE2: conversions between integers and floating point, and between its formats.
#include "handlers.h"
#include "sse_float.h"

namespace nvmm::cpu {
namespace {

// One value; what can be wrong is gathered in the context.
template <typename To, typename From, bool kTruncate>
To convertOne(FloatContext& c, From from) {
  constexpr bool kFromInteger = std::is_signed_v<From>, kToInteger = std::is_signed_v<To>;
  if constexpr (kFromInteger) {
    return pack<To>(c, fromInteger(from));
  } else if constexpr (kToInteger) {
    FloatContext own = c;
    if (kTruncate) own.rounding = Rounding::Zero;
    const auto result = static_cast<To>(toInteger(own, unpack(c, from), sizeof(To) * 8));
    c.flags = own.flags;
    return result;
  } else {
    return pack<To>(c, convert(c, unpack(c, from)));
  }
}

// So many lanes. False: #XM.
template <typename To, typename From, bool kTruncate, size_t kCount, size_t kFrom, size_t kTo>
bool convertLanes(Core& core, const std::array<From, kFrom>& from, std::array<To, kTo>& to) {
  static_assert(kCount <= kFrom && kCount <= kTo);
  FloatContext c = sseContext(core);
  for (size_t i = 0; i < kCount; ++i) to[i] = convertOne<To, From, kTruncate>(c, from[i]);
  if (c.unmasked() & fpe::kBeforeOperation) c.flags &= fpe::kBeforeOperation;
  return signal(core, c);
}

// The same to an XMM register, of which the rest is cleared; by value, as in exec_sse_float.cc.
template <typename To, typename From, bool kTruncate, size_t kCount>
__attribute__((noinline)) bool convertTo(Core& core, unsigned r, std::array<From, kCount> from) {
  Lanes<To, Xmm> to{};
  if (!convertLanes<To, From, kTruncate, kCount>(core, from, to)) return false;
  put<Xmm>(core, r, fromLanes<Xmm>(to));
  return true;
}
// One value to the low lane, of which the rest stays.
template <typename To, typename From>
__attribute__((noinline)) bool convertToLow(Core& core, unsigned r, From value) {
  const std::array<From, 1> from = {value};
  std::array<To, 1> to;
  if (!convertLanes<To, From, false, 1>(core, from, to)) return false;
  putLow<To>(core, r, to[0]);
  return true;
}
// To a general register.
template <typename To, typename From, bool kTruncate>
__attribute__((noinline)) bool convertToGeneral(Core& core, unsigned r, From value) {
  const std::array<From, 1> from = {value};
  std::array<To, 1> to;
  if (!convertLanes<To, From, kTruncate, 1>(core, from, to)) return false;
  core.setReg(r, static_cast<std::make_unsigned_t<To>>(to[0]));
  return true;
}

// XMM to XMM. The destination's lanes beyond those are cleared.
template <typename To, typename From, size_t kCount, bool kTruncate = false>
struct PackedConversion {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    std::array<From, kCount> from;
    if constexpr (sizeof(from) == sizeof(Xmm)) {
      Xmm source;
      if (!start<Xmm, kWhere>(core, insn, source)) return stop(core, insn);
      from = lanes<From>(source);
    } else {
      uint64_t source;
      if (!startScalar<uint64_t, kWhere>(core, insn, source)) return stop(core, insn);
      from = lanes<From>(source);
    }
    const bool done = convertTo<To, From, kTruncate, kCount>(core, insn->reg, from);
    return done ? next(core, insn) : stop(core, insn);
  }
};

// Whether a normal number is a normal one in the other format, too.
constexpr bool fitsExactly(float) { return true; }
constexpr bool fitsExactly(double) { return false; }
constexpr bool fits(float) { return true; }
constexpr bool fits(double value) {
  const double magnitude = value < 0 ? -value : value;
  return magnitude < double{std::numeric_limits<float>::max()} &&
         magnitude > 2 * double{std::numeric_limits<float>::min()};
}

// The low lane of an XMM register, converted in place of another one's.
template <typename To, typename From>
struct ScalarConversion {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    From from;
    if (!startScalar<From, kWhere>(core, insn, from)) return stop(core, insn);
    if (const auto value = toHost(from); isNormal(from) && (fitsExactly(value) || (hostRounds(core) && fits(value)))) {
      putLow<To>(core, insn->reg, fromHost<To>(static_cast<typename HostFloat<To>::Type>(value)));
    } else if (!convertToLow<To, From>(core, insn->reg, from)) {
      return stop(core, insn);
    }
    return next(core, insn);
  }
};

// From a general register or memory, by the operand's size.
template <typename To>
struct FromGeneral {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    if (!sseAvailable(core)) return stop(core, insn);
    int64_t from;
    if (insn->operandSize == 8) {
      uint64_t value;
      if (!readE<uint64_t, kWhere>(core, insn, value)) return stop(core, insn);
      from = static_cast<int64_t>(value);
    } else {
      uint32_t value;
      if (!readE<uint32_t, kWhere>(core, insn, value)) return stop(core, insn);
      from = static_cast<int32_t>(value);
    }
    constexpr int64_t kExact = int64_t{1} << Format<To>::kPrecision;
    if (from >= -kExact && from <= kExact) {
      putLow<To>(core, insn->reg, fromHost<To>(static_cast<typename HostFloat<To>::Type>(from)));
    } else if (!convertToLow<To, int64_t>(core, insn->reg, from)) {
      return stop(core, insn);
    }
    return next(core, insn);
  }
};

template <typename From, bool kTruncate>
struct ToGeneral {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    From from;
    if (!startScalar<From, kWhere>(core, insn, from)) return stop(core, insn);
    const auto value = toHost(from);
    constexpr auto kLimit = static_cast<decltype(value)>(int64_t{1} << 31);
    if (isNormalOrZero(from) && value > -kLimit && value < kLimit) {
      const auto integer = static_cast<int32_t>(value);
      if (static_cast<decltype(value)>(integer) == value || (kTruncate && hostRounds(core))) {
        if (insn->operandSize == 8) {
          core.setReg(insn->reg, static_cast<uint64_t>(int64_t{integer}));
        } else {
          core.setReg(insn->reg, static_cast<uint32_t>(integer));
        }
        return next(core, insn);
      }
    }
    const bool done = insn->operandSize == 8 ? convertToGeneral<int64_t, From, kTruncate>(core, insn->reg, from)
                                             : convertToGeneral<int32_t, From, kTruncate>(core, insn->reg, from);
    return done ? next(core, insn) : stop(core, insn);
  }
};

// Two integers of an MMX register or memory to XMM. CVTPI2PS keeps the upper half of it. Memory does not touch the x87.
template <typename To>
struct FromMmx {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    Mmx source;
    if (!sseAvailable(core)) return stop(core, insn);
    if constexpr (kWhere == Where::Memory) {
      if (!core.read<uint64_t>(insn->segment, core.address(insn), source)) return stop(core, insn);
    } else {
      if (!mmxAvailable(core)) return stop(core, insn);
      enterMmx(core);
      source = get<Mmx>(core, insn->rm);
    }
    auto to = lanes<To>(get<Xmm>(core, insn->reg));
    if (!convertLanes<To, int32_t, false, 2>(core, lanes<int32_t>(source), to)) return stop(core, insn);
    put<Xmm>(core, insn->reg, fromLanes<Xmm>(to));
    return next(core, insn);
  }
};

// Two lanes of XMM or memory to an MMX register.
template <typename From, bool kTruncate>
struct ToMmx {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    if (!sseAvailable(core) || !mmxAvailable(core)) return stop(core, insn);
    std::array<From, 2> from;
    if constexpr (sizeof(from) == sizeof(Xmm)) {
      Xmm source;
      if (!start<Xmm, kWhere>(core, insn, source)) return stop(core, insn);
      from = lanes<From>(source);
    } else {
      uint64_t source;
      if (!startScalar<uint64_t, kWhere>(core, insn, source)) return stop(core, insn);
      from = lanes<From>(source);
    }
    enterMmx(core);
    Lanes<int32_t, Mmx> to;
    if (!convertLanes<int32_t, From, kTruncate, 2>(core, from, to)) return stop(core, insn);
    put<Mmx>(core, insn->reg, fromLanes<Mmx>(to));
    return next(core, insn);
  }
};

}  // namespace

V cvtpi2ps = byPrefix<FromMmx<uint32_t>, FromMmx<uint64_t>, FromGeneral<uint32_t>, FromGeneral<uint64_t>>();
V cvttps2pi =
    byPrefix<ToMmx<uint32_t, true>, ToMmx<uint64_t, true>, ToGeneral<uint32_t, true>, ToGeneral<uint64_t, true>>();
V cvtps2pi =
    byPrefix<ToMmx<uint32_t, false>, ToMmx<uint64_t, false>, ToGeneral<uint32_t, false>, ToGeneral<uint64_t, false>>();
V cvtps2pd = byPrefix<PackedConversion<uint64_t, uint32_t, 2>, PackedConversion<uint32_t, uint64_t, 2>,
                      ScalarConversion<uint64_t, uint32_t>, ScalarConversion<uint32_t, uint64_t>>();
V cvtdq2ps = byPrefix<PackedConversion<uint32_t, int32_t, 4>, PackedConversion<int32_t, uint32_t, 4>,
                      PackedConversion<int32_t, uint32_t, 4, true>>();
V cvtpd2dq = byPrefix<Absent, PackedConversion<int32_t, uint64_t, 2, true>, PackedConversion<uint64_t, int32_t, 2>,
                      PackedConversion<int32_t, uint64_t, 2>>();

}  // namespace nvmm::cpu
