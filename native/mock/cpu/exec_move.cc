// MOV and its relatives: MOVZX, MOVSX, MOVBE, CMOVcc, SETcc, XCHG, XADD, CMPXCHG, LEA, BSWAP, CBW, CWD, XLAT, and the
// flags as a byte.
#include "operand.h"

namespace nvmm::cpu {
namespace {

struct MovEG : NotLockable {
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    return writeE<T, kWhere>(core, insn, core.reg<T>(insn->reg)) ? next(core, insn) : stop(core, insn);
  }
};

struct MovGE : NotLockable {
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    T value;
    if (!readE<T, kWhere>(core, insn, value)) return stop(core, insn);
    core.setReg<T>(insn->reg, value);
    return next(core, insn);
  }
};

struct MovEI : NotLockable {
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    return writeE<T, kWhere>(core, insn, static_cast<T>(insn->imm)) ? next(core, insn) : stop(core, insn);
  }
};

struct MovZI : NotLockable {
  template <typename T, Where>
  static const Insn* run(Core& core, const Insn* insn) {
    core.setReg<T>(insn->reg, static_cast<T>(insn->imm));
    return next(core, insn);
  }
};

// The accumulator from and to an absolute offset.
struct MovAO : NotLockable {
  template <typename T, Where>
  static const Insn* run(Core& core, const Insn* insn) {
    T value;
    if (!core.read<T>(insn->segment, core.address(insn), value)) return stop(core, insn);
    core.setReg<T>(RAX, value);
    return next(core, insn);
  }
};

struct MovOA : NotLockable {
  template <typename T, Where>
  static const Insn* run(Core& core, const Insn* insn) {
    bool done = core.write<T>(insn->segment, core.address(insn), core.reg<T>(RAX));
    return done ? next(core, insn) : stop(core, insn);
  }
};

template <typename Source, bool kSigned>
struct Extend : NotLockable {
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    Source value;
    if (!readE<Source, kWhere>(core, insn, value)) return stop(core, insn);
    core.setReg<T>(insn->reg, static_cast<T>(kSigned ? signExtend(value) : value));
    return next(core, insn);
  }
};

// For a 16-bit register, Intel's processors read 16 bits and AMD's the same 32 as ever.
struct Movsxd : NotLockable {
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    if (sizeof(T) == 2 && !core.amd()) return Extend<uint16_t, true>::template run<T, kWhere>(core, insn);
    return Extend<uint32_t, true>::template run<T, kWhere>(core, insn);
  }
};

template <typename T>
T swapBytes(T value) {
  if constexpr (sizeof(T) == 2) return __builtin_bswap16(value);
  if constexpr (sizeof(T) == 4) return __builtin_bswap32(value);
  if constexpr (sizeof(T) == 8) return __builtin_bswap64(value);
}

struct MovbeGE : NotLockable {
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    T value;
    if (!readE<T, kWhere>(core, insn, value)) return stop(core, insn);
    core.setReg<T>(insn->reg, swapBytes(value));
    return next(core, insn);
  }
};

struct MovbeEG : NotLockable {
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    return writeE<T, kWhere>(core, insn, swapBytes(core.reg<T>(insn->reg))) ? next(core, insn) : stop(core, insn);
  }
};

struct Bswap : NotLockable {
  template <typename T, Where>
  static const Insn* run(Core& core, const Insn* insn) {
    // Of a 16-bit register the result is undefined; processors clear it.
    core.setReg<T>(insn->reg, sizeof(T) == 2 ? T{0} : swapBytes(core.reg<T>(insn->reg)));
    return next(core, insn);
  }
};

// With memory it locks, whether there is a LOCK prefix or not.
struct XchgEG : Lockable {
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    constexpr Where kLocked = kWhere == Where::Register ? kWhere : Where::Locked;
    T value = core.reg<T>(insn->reg), old;
    if (!modifyE<T, kLocked>(
            core, insn, [=](T) { return value; }, old))
      return stop(core, insn);
    core.setReg<T>(insn->reg, old);
    return next(core, insn);
  }
};

// 90 is XCHG of rAX with itself, but clears no upper half.
struct XchgAZ : NotLockable {
  template <typename T, Where>
  static const Insn* run(Core& core, const Insn* insn) {
    if (insn->reg != RAX) {
      T value = core.reg<T>(insn->reg);
      core.setReg<T>(insn->reg, core.reg<T>(RAX));
      core.setReg<T>(RAX, value);
    }
    return next(core, insn);
  }
};

struct XaddEG : Lockable {
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    T addend = core.reg<T>(insn->reg), old;
    if constexpr (kWhere == Where::Register) {
      old = core.reg<T>(insn->rm);
      core.setReg<T>(insn->reg, old);
      core.setReg<T>(insn->rm, static_cast<T>(old + addend));  // the sum, if they are the same register
    } else {
      if (!modifyE<T, kWhere>(
              core, insn, [=](T from) { return static_cast<T>(from + addend); }, old)) {
        return stop(core, insn);
      }
      core.setReg<T>(insn->reg, old);
    }
    T sum = static_cast<T>(old + addend);
    core.flags.arithmetic<T>(old, addend, sum, sum < old);
    return next(core, insn);
  }
};

// Memory is written in any case, with what was there if they differ.
struct CmpxchgEG : Lockable {
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    T accumulator = core.reg<T>(RAX), value = core.reg<T>(insn->reg), old;
    if constexpr (kWhere == Where::Register) {
      old = core.reg<T>(insn->rm);
      if (old == accumulator) core.setReg<T>(insn->rm, value);
    } else {
      auto exchange = [=](T from) { return from == accumulator ? value : from; };
      if (!modifyE<T, kWhere>(core, insn, exchange, old)) return stop(core, insn);
    }
    if (old != accumulator) core.setReg<T>(RAX, old);
    core.flags.arithmetic<T>(accumulator, old, static_cast<T>(accumulator - old), accumulator < old);
    return next(core, insn);
  }
};

struct Lea : NotLockable {
  template <typename T, Where>
  static const Insn* run(Core& core, const Insn* insn) {
    core.setReg<T>(insn->reg, static_cast<T>(core.address(insn)));
    return next(core, insn);
  }
};

template <typename T>
using Half = std::conditional_t<sizeof(T) == 8, uint32_t, std::conditional_t<sizeof(T) == 4, uint16_t, uint8_t>>;

struct Cbw : NotLockable {
  template <typename T, Where>
  static const Insn* run(Core& core, const Insn* insn) {
    core.setReg<T>(RAX, static_cast<T>(signExtend(static_cast<Half<T>>(core.state.gpr[RAX]))));
    return next(core, insn);
  }
};

struct Cwd : NotLockable {
  template <typename T, Where>
  static const Insn* run(Core& core, const Insn* insn) {
    core.setReg<T>(RDX, static_cast<T>(core.reg<T>(RAX) >> (kBits<T> - 1) ? ~uint64_t{0} : 0));
    return next(core, insn);
  }
};

// The source is read in any case, and 32 bits clear the upper half in any case.
template <unsigned kCondition>
struct Cmov : NotLockable {
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    T value;
    if (!readE<T, kWhere>(core, insn, value)) return stop(core, insn);
    core.setReg<T>(insn->reg, core.flags.test<kCondition>() ? value : core.reg<T>(insn->reg));
    return next(core, insn);
  }
};

template <unsigned kCondition>
struct Set : NotLockable {
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    return writeE<T, kWhere>(core, insn, core.flags.test<kCondition>()) ? next(core, insn) : stop(core, insn);
  }
};

#if defined(__x86_64__)
bool compareExchange16(uint8_t* host, uint64_t old[2], const uint64_t value[2]) {
  bool equal;
  asm volatile("lock cmpxchg16b %1"
               : "=@ccz"(equal), "+m"(*reinterpret_cast<unsigned __int128*>(host)), "+a"(old[0]), "+d"(old[1])
               : "b"(value[0]), "c"(value[1])
               : "memory");
  return equal;
}
#else
bool compareExchange16(uint8_t* host, uint64_t old[2], const uint64_t value[2]) {
  std::lock_guard<std::mutex> guard(splitLock());
  uint64_t found[2] = {loadHost<uint64_t>(host), loadHost<uint64_t>(host + 8)};
  bool equal = found[0] == old[0] && found[1] == old[1];
  for (unsigned i = 0; i < 2; ++i) {
    storeHost<uint64_t>(host + 8 * i, equal ? value[i] : found[i]);
    old[i] = found[i];
  }
  return equal;
}
#endif

}  // namespace

std::mutex& splitLock() {
  static std::mutex mutex;
  return mutex;
}

V movEG = variantsOf<MovEG>(), movGE = variantsOf<MovGE>(), movEI = variantsOf<MovEI>(), movZI = variantsOf<MovZI>(),
  movAO = variantsOf<MovAO>(), movOA = variantsOf<MovOA>();
V movzxByte = wideVariantsOf<Extend<uint8_t, false>>(), movzxWord = wideVariantsOf<Extend<uint16_t, false>>(),
  movsxByte = wideVariantsOf<Extend<uint8_t, true>>(), movsxWord = wideVariantsOf<Extend<uint16_t, true>>(),
  movsxd = wideVariantsOf<Movsxd>();
V movbeGE = wideVariantsOf<MovbeGE>(), movbeEG = wideVariantsOf<MovbeEG>(), bswap = wideVariantsOf<Bswap>();
V xchgEG = variantsOf<XchgEG>(), xchgAZ = wideVariantsOf<XchgAZ>(), xaddEG = variantsOf<XaddEG>(),
  cmpxchgEG = variantsOf<CmpxchgEG>(), lea = wideVariantsOf<Lea>(), cbw = wideVariantsOf<Cbw>(),
  cwd = wideVariantsOf<Cwd>();
V cmov[16] = {
    wideVariantsOf<Cmov<0>>(),  wideVariantsOf<Cmov<1>>(),  wideVariantsOf<Cmov<2>>(),  wideVariantsOf<Cmov<3>>(),
    wideVariantsOf<Cmov<4>>(),  wideVariantsOf<Cmov<5>>(),  wideVariantsOf<Cmov<6>>(),  wideVariantsOf<Cmov<7>>(),
    wideVariantsOf<Cmov<8>>(),  wideVariantsOf<Cmov<9>>(),  wideVariantsOf<Cmov<10>>(), wideVariantsOf<Cmov<11>>(),
    wideVariantsOf<Cmov<12>>(), wideVariantsOf<Cmov<13>>(), wideVariantsOf<Cmov<14>>(), wideVariantsOf<Cmov<15>>()};
V setcc[16] = {variantsFor<Set<0>, uint8_t>(),  variantsFor<Set<1>, uint8_t>(),  variantsFor<Set<2>, uint8_t>(),
               variantsFor<Set<3>, uint8_t>(),  variantsFor<Set<4>, uint8_t>(),  variantsFor<Set<5>, uint8_t>(),
               variantsFor<Set<6>, uint8_t>(),  variantsFor<Set<7>, uint8_t>(),  variantsFor<Set<8>, uint8_t>(),
               variantsFor<Set<9>, uint8_t>(),  variantsFor<Set<10>, uint8_t>(), variantsFor<Set<11>, uint8_t>(),
               variantsFor<Set<12>, uint8_t>(), variantsFor<Set<13>, uint8_t>(), variantsFor<Set<14>, uint8_t>(),
               variantsFor<Set<15>, uint8_t>()};

const Insn* cmpxchg8b(Core& core, const Insn* insn) {
  uint64_t expected = core.reg<uint32_t>(RAX) | core.state.gpr[RDX] << 32;
  uint64_t value = core.reg<uint32_t>(RBX) | core.state.gpr[RCX] << 32, old;
  auto exchange = [=](uint64_t from) { return from == expected ? value : from; };
  bool done = insn->lock ? modifyE<uint64_t, Where::Locked>(core, insn, exchange, old)
                         : modifyE<uint64_t, Where::Memory>(core, insn, exchange, old);
  if (!done) return stop(core, insn);
  if (old != expected) {
    core.setReg<uint32_t>(RAX, static_cast<uint32_t>(old));
    core.setReg<uint32_t>(RDX, static_cast<uint32_t>(old >> 32));
  }
  core.flags.setZf(old == expected);
  return next(core, insn);
}

const Insn* cmpxchg16b(Core& core, const Insn* insn) {
  uint64_t offset = core.address(insn);
  if ((core.window[insn->segment].base + offset) & 15) return fault(core, insn, vector::GP, 0);
  uint8_t* host = core.writable<unsigned __int128>(insn->segment, offset);
  Span span{host, nullptr, 16};
  if (!host && !core.spanSlow(insn->segment, offset, 16, span)) return stop(core, insn);
  uint64_t old[2] = {core.state.gpr[RAX], core.state.gpr[RDX]}, value[2] = {core.state.gpr[RBX], core.state.gpr[RCX]};
  bool equal = compareExchange16(span.host, old, value);
  if (!host) core.wrote(span.host, 16);
  core.state.gpr[RAX] = old[0];
  core.state.gpr[RDX] = old[1];
  core.flags.setZf(equal);
  return next(core, insn);
}

const Insn* xlat(Core& core, const Insn* insn) {
  uint8_t value;
  uint64_t offset = (core.state.gpr[RBX] + core.reg<uint8_t>(0)) & insn->addressMask();
  if (!core.read<uint8_t>(insn->segment, offset, value)) return stop(core, insn);
  core.setReg<uint8_t>(0, value);
  return next(core, insn);
}

const Insn* lahf(Core& core, const Insn* insn) {
  core.setReg<uint8_t>(1, static_cast<uint8_t>((core.flags.get() & 0xff) | kFlagsFixed));
  return next(core, insn);
}
const Insn* sahf(Core& core, const Insn* insn) {
  constexpr uint64_t kMask = kSF | kZF | kAF | kPF | kCF;
  core.flags.set((core.flags.get() & kOF) | (core.reg<uint8_t>(1) & kMask));
  return next(core, insn);
}
const Insn* clc(Core& core, const Insn* insn) {
  core.flags.setCf(false);
  return next(core, insn);
}
const Insn* stc(Core& core, const Insn* insn) {
  core.flags.setCf(true);
  return next(core, insn);
}
const Insn* cmc(Core& core, const Insn* insn) {
  core.flags.setCf(!core.flags.cf());
  return next(core, insn);
}
const Insn* cld(Core& core, const Insn* insn) {
  core.state.rflags &= ~kDF;
  return next(core, insn);
}
const Insn* std_(Core& core, const Insn* insn) {
  core.state.rflags |= kDF;
  return next(core, insn);
}

}  // namespace nvmm::cpu
