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

// XMM to XMM. The destination's lanes beyond those are cleared.
template <typename To, typename From, size_t kCount, bool kTruncate = false>
struct PackedConversion {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    Lanes<To, Xmm> to{};
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
    if (!convertLanes<To, From, kTruncate, kCount>(core, from, to)) return stop(core, insn);
    put<Xmm>(core, insn->reg, fromLanes<Xmm>(to));
    return next(core, insn);
  }
};

// The low lane of an XMM register, converted in place of another one's.
template <typename To, typename From>
struct ScalarConversion {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    std::array<From, 1> from;
    std::array<To, 1> to;
    if (!startScalar<From, kWhere>(core, insn, from[0])) return stop(core, insn);
    if (!convertLanes<To, From, false, 1>(core, from, to)) return stop(core, insn);
    putLow<To>(core, insn->reg, to[0]);
    return next(core, insn);
  }
};

// From a general register or memory, by the operand's size.
template <typename To>
struct FromGeneral {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    if (!sseAvailable(core)) return stop(core, insn);
    std::array<int64_t, 1> from;
    std::array<To, 1> to;
    if (insn->operandSize == 8) {
      uint64_t value;
      if (!readE<uint64_t, kWhere>(core, insn, value)) return stop(core, insn);
      from[0] = static_cast<int64_t>(value);
    } else {
      uint32_t value;
      if (!readE<uint32_t, kWhere>(core, insn, value)) return stop(core, insn);
      from[0] = static_cast<int32_t>(value);
    }
    if (!convertLanes<To, int64_t, false, 1>(core, from, to)) return stop(core, insn);
    putLow<To>(core, insn->reg, to[0]);
    return next(core, insn);
  }
};

template <typename From, bool kTruncate>
struct ToGeneral {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    std::array<From, 1> from;
    if (!startScalar<From, kWhere>(core, insn, from[0])) return stop(core, insn);
    return insn->operandSize == 8 ? store<int64_t>(core, insn, from) : store<int32_t>(core, insn, from);
  }
  template <typename To>
  static const Insn* store(Core& core, const Insn* insn, const std::array<From, 1>& from) {
    std::array<To, 1> to;
    if (!convertLanes<To, From, kTruncate, 1>(core, from, to)) return stop(core, insn);
    core.setReg(insn->reg, static_cast<std::make_unsigned_t<To>>(to[0]));
    return next(core, insn);
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
