#include "driver.h"

#include <mutex>
#include <new>
#include <shared_mutex>

#include "../../abi/netbsd_errno.h"
#include "copy.h"

namespace nvmm::mock {

using namespace abi;

namespace {

constexpr unsigned numberOf(uint32_t request) { return request & 0xff; }

}  // namespace

// ---- look-up -------------------------------------------------------------------------------------------------------

template <class Lock, class Use, class... More>
int Driver::withSlot(uint64_t owner, uint32_t machid, Use use, More... more) {
  if (machid >= options_.maxMachines) return netbsd::kINVAL;
  Slot& slot = slots_[machid];
  Lock lock(slot.lock, more...);
  if (!slot.machine) return netbsd::kNOENT;
  if (slot.machine->owner().id != owner && owner != kRootOwner) return netbsd::kPERM;
  return use(slot);
}

template <class Use>
int Driver::reading(uint64_t owner, uint32_t machid, Use use) {
  return withSlot<std::shared_lock<MachineLock>>(owner, machid, [&](Slot& slot) { return use(*slot.machine); });
}

template <class Use>
int Driver::writing(uint64_t owner, uint32_t machid, Use use) {
  return withSlot<std::unique_lock<MachineLock>>(owner, machid, [&](Slot& slot) { return use(*slot.machine); });
}

template <class Argument, class Use>
int Driver::holdingVcpu(uint64_t owner, const Argument& argument, Use use) {
  return withSlot<VcpuLock>(
      owner, argument.machid, [&](Slot& slot) { return use(*slot.machine); }, argument.cpuid);
}

template <class Argument, class Use>
int Driver::withVcpu(uint64_t owner, const Argument& argument, Use use) {
  return holdingVcpu(owner, argument, [&](Machine& machine) { return machine.withVcpu(argument.cpuid, use); });
}

// ---- requests ------------------------------------------------------------------------------------------------------

int Driver::ioctl(uint64_t owner, uint32_t request, void* argument) {
  if (request == NVMM_IOC_VCPU_RUN) {
    const int error = run(owner, *static_cast<nvmm_ioc_vcpu_run*>(argument));
    if (error != netbsd::kOK) statistics_.countRequest(numberOf(request));
    return error;
  }
  try {
    return dispatch(owner, request, argument);
  } catch (const std::bad_alloc&) {
    return netbsd::kNOMEM;
  }
}

int Driver::dispatch(uint64_t owner, uint32_t request, void* argument) {
  const auto call = [&](auto* typed) {
    statistics_.countRequest(numberOf(request));
    if (const int error = plan_.error(numberOf(request))) return error;
    return handle(owner, *typed);
  };
  switch (request) {
    case NVMM_IOC_CAPABILITY: return call(static_cast<nvmm_ioc_capability*>(argument));
    case NVMM_IOC_MACHINE_DESTROY: return call(static_cast<nvmm_ioc_machine_destroy*>(argument));
    case NVMM_IOC_MACHINE_CONFIGURE: return call(static_cast<nvmm_ioc_machine_configure*>(argument));
    case NVMM_IOC_VCPU_CREATE: return call(static_cast<nvmm_ioc_vcpu_create*>(argument));
    case NVMM_IOC_VCPU_DESTROY: return call(static_cast<nvmm_ioc_vcpu_destroy*>(argument));
    case NVMM_IOC_VCPU_CONFIGURE: return call(static_cast<nvmm_ioc_vcpu_configure*>(argument));
    case NVMM_IOC_VCPU_SETSTATE: return call(static_cast<nvmm_ioc_vcpu_setstate*>(argument));
    case NVMM_IOC_VCPU_GETSTATE: return call(static_cast<nvmm_ioc_vcpu_getstate*>(argument));
    case NVMM_IOC_VCPU_INJECT: return call(static_cast<nvmm_ioc_vcpu_inject*>(argument));
    case NVMM_IOC_GPA_MAP: return call(static_cast<nvmm_ioc_gpa_map*>(argument));
    case NVMM_IOC_GPA_UNMAP: return call(static_cast<nvmm_ioc_gpa_unmap*>(argument));
    case NVMM_IOC_HVA_MAP: return call(static_cast<nvmm_ioc_hva_map*>(argument));
    case NVMM_IOC_HVA_UNMAP: return call(static_cast<nvmm_ioc_hva_unmap*>(argument));
    case NVMM_IOC_CTL: return call(static_cast<nvmm_ioc_ctl*>(argument));
    default: return netbsd::kINVAL;
  }
}

int Driver::handle(uint64_t, nvmm_ioc_capability& argument) {
  const bool tpr = options_.vendor == cpu::Vendor::Intel;
  argument.cap = {};
  argument.cap.version = options_.kernelVersion;
  argument.cap.state_size = sizeof(nvmm_x64_state);
  argument.cap.max_machines = options_.maxMachines;
  argument.cap.max_vcpus = options_.maxVcpus;
  argument.cap.max_ram = options_.maxRam;
  argument.cap.arch.vcpu_conf_support = NVMM_CAP_ARCH_VCPU_CONF_CPUID | (tpr ? NVMM_CAP_ARCH_VCPU_CONF_TPR : 0);
  argument.cap.arch.xcr0_mask = model_.xcr0;
  argument.cap.arch.mxcsr_mask = model_.mxcsrMask;
  argument.cap.arch.conf_cpuid_maxops = kConfCpuidMaxops;
  return netbsd::kOK;
}

// Every slot is waited for until a free one is found, also those of others.
int Driver::createMachine(const Machine::Owner& owner, uint32_t* machid) {
  statistics_.countRequest(numberOf(NVMM_IOC_MACHINE_CREATE));
  if (const int error = plan_.error(numberOf(NVMM_IOC_MACHINE_CREATE))) return error;
  for (uint32_t i = 0; i < options_.maxMachines; i++) {
    std::lock_guard<MachineLock> lock(slots_[i].lock);
    if (slots_[i].machine) continue;
    try {
      slots_[i].lock.prepareVcpus();
      slots_[i].machine = Machine::create({model_, options_, kicks_, statistics_}, owner);
    } catch (const std::bad_alloc&) {
    }
    if (!slots_[i].machine) return netbsd::kNOMEM;
    *machid = i;
    return netbsd::kOK;
  }
  return netbsd::kNOBUFS;
}

int Driver::handle(uint64_t owner, nvmm_ioc_machine_destroy& argument) {
  return withSlot<std::unique_lock<MachineLock>>(owner, argument.machid, [](Slot& slot) {
    slot.machine.reset();
    return netbsd::kOK;
  });
}

void Driver::closeOwner(uint64_t owner) {
  for (Slot& slot : slots_) {
    std::lock_guard<MachineLock> lock(slot.lock);
    if (slot.machine && slot.machine->owner().id == owner) slot.machine.reset();
  }
}

// No parameter of a machine exists.
int Driver::handle(uint64_t, nvmm_ioc_machine_configure&) { return netbsd::kINVAL; }

int Driver::handle(uint64_t owner, nvmm_ioc_vcpu_create& argument) {
  return holdingVcpu(owner, argument, [&](Machine& machine) { return machine.createVcpu(argument.cpuid); });
}

int Driver::handle(uint64_t owner, nvmm_ioc_vcpu_destroy& argument) {
  return holdingVcpu(owner, argument, [&](Machine& machine) { return machine.destroyVcpu(argument.cpuid); });
}

int Driver::handle(uint64_t owner, nvmm_ioc_vcpu_configure& argument) {
  const auto configure = [&](auto conf, int (Backend::*apply)(const decltype(conf)&)) {
    return withVcpu(owner, argument, [&](Vcpu& vcpu) {
      return copyIn(&conf, argument.conf, sizeof conf) ? (vcpu.backend().*apply)(conf) : netbsd::kFAULT;
    });
  };
  switch (argument.op) {
    case NVMM_VCPU_CONF_CPUID: return configure(nvmm_vcpu_conf_cpuid(), &Backend::configureCpuid);
    case NVMM_VCPU_CONF_TPR: return configure(nvmm_vcpu_conf_tpr(), &Backend::configureTpr);
    default: return netbsd::kINVAL;
  }
}

int Driver::handle(uint64_t owner, nvmm_ioc_vcpu_setstate& argument) {
  return withVcpu(owner, argument, [](Vcpu& vcpu) { return vcpu.setState(), netbsd::kOK; });
}

int Driver::handle(uint64_t owner, nvmm_ioc_vcpu_getstate& argument) {
  return withVcpu(owner, argument, [](Vcpu& vcpu) { return vcpu.getState(), netbsd::kOK; });
}

int Driver::handle(uint64_t owner, nvmm_ioc_vcpu_inject& argument) {
  return withVcpu(owner, argument, [](Vcpu& vcpu) { return vcpu.inject(); });
}

[[gnu::flatten]] int Driver::run(uint64_t owner, nvmm_ioc_vcpu_run& argument) {
  const auto fault = plan_.take(numberOf(NVMM_IOC_VCPU_RUN));
  if (fault && fault->kind == Fault::Kind::Error) return fault->error;
  return withVcpu(owner, argument, [&](Vcpu& vcpu) { return vcpu.run(argument.exit, fault ? &*fault : nullptr); });
}

int Driver::handle(uint64_t owner, nvmm_ioc_gpa_map& argument) {
  return reading(owner, argument.machid, [&](Machine& machine) {
    return machine.gpaMap(argument.hva, argument.gpa, argument.size, argument.prot);
  });
}

int Driver::handle(uint64_t owner, nvmm_ioc_gpa_unmap& argument) {
  return reading(owner, argument.machid,
                 [&](Machine& machine) { return machine.gpaUnmap(argument.gpa, argument.size); });
}

int Driver::handle(uint64_t owner, nvmm_ioc_hva_map& argument) {
  return writing(owner, argument.machid, [&](Machine& machine) { return machine.hvaMap(argument.hva, argument.size); });
}

int Driver::handle(uint64_t owner, nvmm_ioc_hva_unmap& argument) {
  return writing(owner, argument.machid,
                 [&](Machine& machine) { return machine.hvaUnmap(argument.hva, argument.size); });
}

int Driver::handle(uint64_t owner, nvmm_ioc_ctl& argument) {
  nvmm_ctl_mach_info info;
  if (argument.op != NVMM_CTL_MACH_INFO || argument.size != sizeof info) return netbsd::kINVAL;
  if (!copyIn(&info, argument.data, sizeof info)) return netbsd::kFAULT;
  const int error = writing(owner, info.machid, [&](Machine& machine) {
    info = machine.info(info.machid);
    return netbsd::kOK;
  });
  if (error != netbsd::kOK) return error;
  return copyOut(&info, argument.data, sizeof info) ? netbsd::kOK : netbsd::kFAULT;
}

// ---- comm pages ----------------------------------------------------------------------------------------------------

int Driver::mapComm(uint64_t owner, uint64_t offset, int prot, bool shared, void** address) {
  const uint32_t machid = offset >> 20 & 0xff, cpuid = offset >> 12 & 0xff;
  if (const int error = plan_.error(kMmap)) return error;
  if (cpuid >= options_.maxVcpus) return netbsd::kINVAL;
  return reading(owner, machid, [&](Machine& machine) {
    *address = machine.mapComm(cpuid, prot, shared);
    return *address ? netbsd::kOK : netbsd::kNOMEM;
  });
}

}  // namespace nvmm::mock
