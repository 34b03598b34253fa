#include <sys/mman.h>

#include <algorithm>

#include "kicker.h"
#include "objects.h"

namespace nvmm {

namespace {

template <typename T>
void addTo(std::vector<std::weak_ptr<T>>& list, const std::shared_ptr<T>& object) {
  list.erase(std::remove_if(list.begin(), list.end(), [](const auto& weak) { return weak.expired(); }), list.end());
  list.push_back(object);
}

}  // namespace

int Machine::create(std::shared_ptr<File> file, std::shared_ptr<Machine>* machine) {
  abi::nvmm_ioc_machine_create argument = {};
  int error;
  {
    const Kicker::Yield yield;
    error = file->ioctl(abi::NVMM_IOC_MACHINE_CREATE, &argument);
  }
  if (error != 0) return error;
  machine->reset(new Machine(file, argument.machid));
  std::lock_guard<std::mutex> guard(file->machinesLock_);
  addTo(file->machines_, *machine);
  return netbsd::kOK;
}

Machine::~Machine() {
  destroy();
  for (const auto& [base, size] : orphans_) munmap(base, size);
}

int Machine::destroy() {
  {
    std::unique_lock<std::shared_mutex> guard(ioctlLock_);
    if (destroyed_) return netbsd::kOK;
    destroyed_ = true;
  }
  std::vector<std::weak_ptr<Vcpu>> vcpus;
  {
    std::lock_guard<std::mutex> guard(lock_);
    vcpus.swap(vcpus_);
  }
  for (const auto& weak : vcpus) {
    if (const auto vcpu = weak.lock()) vcpu->retire();
  }
  abi::nvmm_ioc_machine_destroy argument = {id_};
  return file_->ioctl(abi::NVMM_IOC_MACHINE_DESTROY, &argument);
}

int Machine::configure(uint64_t op) {
  abi::nvmm_ioc_machine_configure argument = {id_, op, nullptr};
  return ioctl(abi::NVMM_IOC_MACHINE_CONFIGURE, &argument);
}

int Machine::mapGpa(const Memory& memory, uint64_t offset, uint64_t gpa, uint64_t size, int prot) {
  const uint64_t hva = reinterpret_cast<uintptr_t>(memory.base()) + offset;
  abi::nvmm_ioc_gpa_map argument = {id_, hva, gpa, size, prot};
  return ioctl(abi::NVMM_IOC_GPA_MAP, &argument);
}

int Machine::unmapGpa(uint64_t gpa, uint64_t size) {
  abi::nvmm_ioc_gpa_unmap argument = {id_, gpa, size};
  return ioctl(abi::NVMM_IOC_GPA_UNMAP, &argument);
}

int Machine::ioctl(uint32_t request, void* argument) {
  std::shared_lock<std::shared_mutex> guard(ioctlLock_);
  return destroyed_ ? netbsd::kNOENT : file_->ioctl(request, argument);
}

void Machine::add(const std::shared_ptr<Vcpu>& vcpu) {
  std::lock_guard<std::mutex> guard(lock_);
  addTo(vcpus_, vcpu);
}

int Machine::exclusively(uint32_t request, void* argument, const std::function<void()>& prepare) {
  std::lock_guard<std::mutex> guard(lock_);
  exclusive_ = true;  // before the look at the VCPUs, as each of them claims itself before it looks at this
  const bool busy = std::any_of(vcpus_.begin(), vcpus_.end(), [](const auto& weak) {
    const auto vcpu = weak.lock();
    return vcpu && vcpu->running();
  });
  int error = netbsd::kBUSY;
  if (!busy) {
    prepare();
    error = ioctl(request, argument);
  }
  exclusive_ = false;
  return error;
}

void Machine::waitForExclusive() { std::lock_guard<std::mutex> guard(lock_); }

}  // namespace nvmm
