// The driver behind /dev/nvmm: the requests, on arguments that have been copied in.
#pragma once

#include <array>
#include <memory>

#include "machine.h"
#include "rwlock.h"

namespace nvmm::mock {

// Owners of machines. Numbers are never used again, so that a machine whose owner is gone belongs to nobody.
constexpr uint64_t kNobody = 0, kRootOwner = 1;

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

  void kick(pthread_t thread) { kicks_.kick(thread); }
  Counters counters() const { return statistics_.total(); }

 private:
  struct Slot {
    RwLock lock;
    std::unique_ptr<Machine> machine;
  };

  // Looks a machine up, and calls `use` with its slot or itself, under the slot's lock as reader or writer.
  template <class Lock, class Use>
  int withSlot(uint64_t owner, uint32_t machid, Use use);
  template <class Use>
  int reading(uint64_t owner, uint32_t machid, Use use);
  template <class Use>
  int writing(uint64_t owner, uint32_t machid, Use use);
  // The same for a VCPU, under the locks of both.
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
  int handle(uint64_t owner, abi::nvmm_ioc_vcpu_run& argument);
  int handle(uint64_t owner, abi::nvmm_ioc_gpa_map& argument);
  int handle(uint64_t owner, abi::nvmm_ioc_gpa_unmap& argument);
  int handle(uint64_t owner, abi::nvmm_ioc_hva_map& argument);
  int handle(uint64_t owner, abi::nvmm_ioc_hva_unmap& argument);
  int handle(uint64_t owner, abi::nvmm_ioc_ctl& argument);

  const Options options_;
  const cpu::Model& model_;
  Kicks kicks_;
  Statistics statistics_;
  std::array<Slot, abi::NVMM_MAX_MACHINES> slots_;
};

}  // namespace nvmm::mock
