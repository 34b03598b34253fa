// The driver behind /dev/nvmm: the requests, on arguments that have been copied in.
#pragma once

#include <array>
#include <memory>
#include <mutex>

#include "machine.h"
#include "machine_lock.h"
#include "plan.h"

namespace nvmm::mock {

// Owners of machines. Numbers are never used again, so that a machine whose owner is gone belongs to nobody. kCutOff is
// who lost what he had to a reset.
constexpr uint64_t kNobody = 0, kCutOff = 1, kRootOwner = 2;

class Driver {
 public:
  explicit Driver(const Options& options) : options_(options), model_(cpu::model(options.vendor)) {}

  // Every request but MACHINE_CREATE. `argument` is the request's struct, written on success only.
  int ioctl(uint64_t owner, uint32_t request, void* argument);
  int createMachine(const Machine::Owner& owner, uint32_t* machid);

  // The last close: destroys the owner's machines.
  void closeOwner(uint64_t owner);

  // `prot` is the host's.
  int mapComm(uint64_t owner, uint64_t offset, int prot, bool shared, void** address);

  // Whether the processor has what the driver needs; without it nothing can be opened.
  bool hasBackend() const { return options_.virtualization; }

  void kick(pthread_t thread) { kicks_.kick(thread); }
  Counters counters() const { return statistics_.total(); }
  Plan& plan() { return plan_; }

  // Destroys all machines, and forgets counters and plan. `cutOff` is called once it is sure that this will happen,
  // while nobody can make a machine. EBUSY while a request is at work on a machine.
  template <class CutOff>
  int reset(CutOff cutOff) {
    std::array<std::unique_lock<MachineLock>, abi::NVMM_MAX_MACHINES> locks;
    for (size_t i = 0; i < slots_.size(); i++) {
      locks[i] = std::unique_lock<MachineLock>(slots_[i].lock, std::try_to_lock);
      if (!locks[i]) return netbsd::kBUSY;
    }
    cutOff();
    for (Slot& slot : slots_) slot.machine.reset();
    statistics_.clear();
    plan_.clear();
    return netbsd::kOK;
  }

 private:
  struct Slot {
    MachineLock lock;
    std::unique_ptr<Machine> machine;
  };

  // Looks a machine up, and calls `use` with its slot or itself, under the slot's lock as reader or writer: `Lock` is
  // made of that lock and `more`.
  template <class Lock, class Use, class... More>
  int withSlot(uint64_t owner, uint32_t machid, Use use, More... more);
  template <class Use>
  int reading(uint64_t owner, uint32_t machid, Use use);
  template <class Use>
  int writing(uint64_t owner, uint32_t machid, Use use);
  // The same with the lock of a VCPU, which need not exist; and for a VCPU.
  template <class Argument, class Use>
  int holdingVcpu(uint64_t owner, const Argument& argument, Use use);
  template <class Argument, class Use>
  int withVcpu(uint64_t owner, const Argument& argument, Use use);

  int dispatch(uint64_t owner, uint32_t request, void* argument);
  int handle(uint64_t owner, abi::nvmm_ioc_capability& argument);
  int handle(uint64_t owner, abi::nvmm_ioc_machine_destroy& argument);
  int handle(uint64_t owner, abi::nvmm_ioc_machine_configure& argument);
  int handle(uint64_t owner, abi::nvmm_ioc_vcpu_create& argument);
  int handle(uint64_t owner, abi::nvmm_ioc_vcpu_destroy& argument);
  int handle(uint64_t owner, abi::nvmm_ioc_vcpu_configure& argument);
  int handle(uint64_t owner, abi::nvmm_ioc_vcpu_setstate& argument);
  int handle(uint64_t owner, abi::nvmm_ioc_vcpu_getstate& argument);
  int handle(uint64_t owner, abi::nvmm_ioc_vcpu_inject& argument);
  int run(uint64_t owner, abi::nvmm_ioc_vcpu_run& argument);
  int handle(uint64_t owner, abi::nvmm_ioc_gpa_map& argument);
  int handle(uint64_t owner, abi::nvmm_ioc_gpa_unmap& argument);
  int handle(uint64_t owner, abi::nvmm_ioc_hva_map& argument);
  int handle(uint64_t owner, abi::nvmm_ioc_hva_unmap& argument);
  int handle(uint64_t owner, abi::nvmm_ioc_ctl& argument);

  const Options options_;
  const cpu::Model& model_;
  Kicks kicks_;
  Statistics statistics_;
  Plan plan_;
  std::array<Slot, abi::NVMM_MAX_MACHINES> slots_;
};

}  // namespace nvmm::mock
