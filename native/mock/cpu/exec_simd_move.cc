// MMX, SSE, SSE2, SSE3: moves between registers and memory, sign masks, masked stores, EMMS.
#include "handlers.h"
#include "segments.h"
#include "simd.h"

namespace nvmm::cpu {
namespace {

// V = W
template <class Raw, bool kAligned>
struct Load {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    Raw value;
    if (!start<Raw, kWhere, kAligned>(core, insn, value)) return stop(core, insn);
    put<Raw>(core, insn->reg, value);
    return next(core, insn);
  }
};

// W = V
template <class Raw, bool kAligned>
struct Store {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    if (!available<Raw>(core)) return stop(core, insn);
    beginStore<Raw>(core);
    const Raw value = get<Raw>(core, insn->reg);
    if constexpr (kWhere == Where::Memory) {
      if (std::is_same_v<Raw, Xmm> && kAligned && !alignedOperand(core, insn)) return stop(core, insn);
      if (!core.write<Raw>(insn->segment, core.address(insn), value)) return stop(core, insn);
    }
    begin<Raw>(core);
    if constexpr (kWhere == Where::Register) put<Raw>(core, insn->rm, value);
    return next(core, insn);
  }
};

using LoadMmx = Load<Mmx, false>;
using LoadAligned = Load<Xmm, true>;
using LoadUnaligned = Load<Xmm, false>;
using StoreMmx = Store<Mmx, false>;
using StoreAligned = Store<Xmm, true>;
using StoreUnaligned = Store<Xmm, false>;

// MOVSS, MOVSD: from memory the rest of V is cleared.
template <typename T>
struct LoadScalar {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    T value;
    if (!startScalar<T, kWhere>(core, insn, value)) return stop(core, insn);
    if (kWhere == Where::Memory) put<Xmm>(core, insn->reg, {});
    putLow<T>(core, insn->reg, value);
    return next(core, insn);
  }
};
template <typename T>
struct StoreScalar {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    if (!sseAvailable(core)) return stop(core, insn);
    const T value = lanes<T>(get<Xmm>(core, insn->reg))[0];
    if constexpr (kWhere == Where::Register) {
      putLow<T>(core, insn->rm, value);
    } else {
      if (!core.write<T>(insn->segment, core.address(insn), value)) return stop(core, insn);
    }
    return next(core, insn);
  }
};

// MOVQ: the upper half of the destination is cleared.
struct LoadQuad {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    uint64_t value;
    if (!startScalar<uint64_t, kWhere>(core, insn, value)) return stop(core, insn);
    put<Xmm>(core, insn->reg, {{value, 0}});
    return next(core, insn);
  }
};
struct StoreQuad {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    if (!sseAvailable(core)) return stop(core, insn);
    const uint64_t value = get<Xmm>(core, insn->reg).lane[0];
    if constexpr (kWhere == Where::Register) {
      put<Xmm>(core, insn->rm, {{value, 0}});
    } else {
      if (!core.write<uint64_t>(insn->segment, core.address(insn), value)) return stop(core, insn);
    }
    return next(core, insn);
  }
};

// One half of V, from memory or from the other half of U: MOVLPS, MOVHLPS, MOVHPS, MOVLHPS.
template <unsigned kHalf>
struct LoadHalf {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    uint64_t value;
    if (!sseAvailable(core)) return stop(core, insn);
    if constexpr (kWhere == Where::Register) {
      value = get<Xmm>(core, insn->rm).lane[1 - kHalf];
    } else {
      if (!core.read<uint64_t>(insn->segment, core.address(insn), value)) return stop(core, insn);
    }
    core.state.fpu.xmm[insn->reg].lane[kHalf] = value;
    return next(core, insn);
  }
};
template <unsigned kHalf>
struct StoreHalf {
  template <Where>
  static const Insn* run(Core& core, const Insn* insn) {
    if (!sseAvailable(core)) return stop(core, insn);
    const uint64_t value = get<Xmm>(core, insn->reg).lane[kHalf];
    return core.write<uint64_t>(insn->segment, core.address(insn), value) ? next(core, insn) : stop(core, insn);
  }
};

// MOVD, MOVQ between a general register or memory and V or P, by the operand's size.
template <class Raw>
struct FromGeneral {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    uint64_t value;
    if (!available<Raw>(core) || !readGeneral<kWhere>(core, insn, value)) return stop(core, insn);
    begin<Raw>(core);
    if constexpr (std::is_same_v<Raw, Mmx>) {
      put<Mmx>(core, insn->reg, value);
    } else {
      put<Xmm>(core, insn->reg, {{value, 0}});
    }
    return next(core, insn);
  }
  template <Where kWhere>
  static bool readGeneral(Core& core, const Insn* insn, uint64_t& value) {
    if (insn->operandSize == 8) return readE<uint64_t, kWhere>(core, insn, value);
    uint32_t low;
    if (!readE<uint32_t, kWhere>(core, insn, low)) return false;
    value = low;
    return true;
  }
};
template <class Raw>
struct ToGeneral {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    if (!available<Raw>(core)) return stop(core, insn);
    beginStore<Raw>(core);
    const uint64_t value = lanes<uint64_t>(get<Raw>(core, insn->reg))[0];
    const bool done = insn->operandSize == 8 ? writeE<uint64_t, kWhere>(core, insn, value)
                                             : writeE<uint32_t, kWhere>(core, insn, static_cast<uint32_t>(value));
    if (!done) return stop(core, insn);
    begin<Raw>(core);
    return next(core, insn);
  }
};

// MOVQ2DQ, MOVDQ2Q
struct MmxToXmm {
  template <Where>
  static const Insn* run(Core& core, const Insn* insn) {
    if (!sseAvailable(core) || !mmxAvailable(core)) return stop(core, insn);
    enterMmx(core);
    put<Xmm>(core, insn->reg, {{get<Mmx>(core, insn->rm), 0}});
    return next(core, insn);
  }
};
struct XmmToMmx {
  template <Where>
  static const Insn* run(Core& core, const Insn* insn) {
    if (!sseAvailable(core) || !mmxAvailable(core)) return stop(core, insn);
    enterMmx(core);
    put<Mmx>(core, insn->reg, get<Xmm>(core, insn->rm).lane[0]);
    return next(core, insn);
  }
};

// MOVSLDUP, MOVSHDUP
template <unsigned kFrom>
struct Duplicate {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    Xmm source;
    if (!start<Xmm, kWhere>(core, insn, source)) return stop(core, insn);
    auto x = lanes<uint32_t>(source);
    x[0] = x[1] = x[kFrom];
    x[2] = x[3] = x[2 + kFrom];
    put<Xmm>(core, insn->reg, fromLanes<Xmm>(x));
    return next(core, insn);
  }
};
struct DuplicateQuad {
  template <Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    uint64_t value;
    if (!startScalar<uint64_t, kWhere>(core, insn, value)) return stop(core, insn);
    put<Xmm>(core, insn->reg, {{value, value}});
    return next(core, insn);
  }
};

// The sign bits of the lanes, to a general register.
template <typename T, class Raw>
struct SignMask {
  template <Where>
  static const Insn* run(Core& core, const Insn* insn) {
    if (!available<Raw>(core)) return stop(core, insn);
    begin<Raw>(core);
    const auto x = lanes<T>(get<Raw>(core, insn->rm));
    uint32_t mask = 0;
    for (size_t i = 0; i < x.size(); ++i) mask |= static_cast<uint32_t>(x[i] >> (sizeof(T) * 8 - 1)) << i;
    core.setReg<uint32_t>(insn->reg, mask);
    return next(core, insn);
  }
};

// The bytes of P or V whose counterpart has its sign bit set, to DS:rDI. The others are not accessed, but with an empty
// mask the whole operand has to be accessible.
template <class Raw>
struct MaskedStore {
  template <Where>
  static const Insn* run(Core& core, const Insn* insn) {
    if (!available<Raw>(core)) return stop(core, insn);
    beginStore<Raw>(core);
    const auto mask = lanes<uint8_t>(get<Raw>(core, insn->rm)), value = lanes<uint8_t>(get<Raw>(core, insn->reg));
    const uint64_t offset = core.state.gpr[RDI] & insn->addressMask();
    if (misaligned(core, core.window[insn->segment].base + offset, sizeof(uint64_t))) {
      return fault(core, insn, vector::AC, 0);
    }
    Span span;
    uint8_t* host[sizeof(Raw)] = {};
    bool any = false;
    for (unsigned i = 0; i < sizeof(Raw); ++i) {
      if (!(mask[i] >> 7)) continue;
      if (!core.spanSlow(insn->segment, (offset + i) & insn->addressMask(), 1, span)) return stop(core, insn);
      host[i] = span.host;
      any = true;
    }
    // A mask of zeros looks at its place in halves: 8 bytes are all the alignment that there has to be.
    for (unsigned i = 0; !any && i < sizeof(Raw); i += sizeof(uint64_t)) {
      const uint64_t half = (offset + i) & insn->addressMask();
      if (!core.spanSlow(insn->segment, half, sizeof(uint64_t), span)) return stop(core, insn);
    }
    for (unsigned i = 0; i < sizeof(Raw); ++i) {
      if (!host[i]) continue;
      storeHost<uint8_t>(host[i], value[i]);
      core.wrote(host[i], 1);
    }
    begin<Raw>(core);
    return next(core, insn);
  }
};

}  // namespace

V movups = byPrefix<LoadUnaligned, LoadUnaligned, LoadScalar<uint32_t>, LoadScalar<uint64_t>>();
V movupsStore = byPrefix<StoreUnaligned, StoreUnaligned, StoreScalar<uint32_t>, StoreScalar<uint64_t>>();
V movlps = byPrefix<LoadHalf<0>, LoadHalf<0>, Duplicate<0>, DuplicateQuad>();
V movhps = byPrefix<LoadHalf<1>, LoadHalf<1>, Duplicate<1>>();
V movlpsStore = byPrefix<StoreHalf<0>, StoreHalf<0>>();
V movhpsStore = byPrefix<StoreHalf<1>, StoreHalf<1>>();
V movaps = byPrefix<LoadAligned, LoadAligned>(), movapsStore = byPrefix<StoreAligned, StoreAligned>();
V movmskps = byPrefix<SignMask<uint32_t, Xmm>, SignMask<uint64_t, Xmm>>();
V pmovmskb = byPrefix<SignMask<uint8_t, Mmx>, SignMask<uint8_t, Xmm>>();
V movdFrom = byPrefix<FromGeneral<Mmx>, FromGeneral<Xmm>>();
V movdTo = byPrefix<ToGeneral<Mmx>, ToGeneral<Xmm>, LoadQuad>();
V movq = byPrefix<LoadMmx, LoadAligned, LoadUnaligned>();
V movqStore = byPrefix<StoreMmx, StoreAligned, StoreUnaligned>();
V movqToMmx = byPrefix<Absent, StoreQuad, MmxToXmm, XmmToMmx>();
V movntq = byPrefix<StoreMmx, StoreAligned>();
V movntdqa = byPrefix<Absent, LoadAligned>();
V lddqu = byPrefix<Absent, Absent, Absent, LoadUnaligned>();
V maskmovq = byPrefix<MaskedStore<Mmx>, MaskedStore<Xmm>>();

const Insn* emms(Core& core, const Insn* insn) {
  if (!mmxAvailable(core)) return stop(core, insn);
  enterMmx(core);
  core.state.fpu.ftw = 0;
  return next(core, insn);
}

}  // namespace nvmm::cpu
