#include <sys/mman.h>

#include <algorithm>
#include <unordered_map>

#include "kicker.h"
#include "objects.h"

namespace nvmm {

namespace {

// The machines that are named to other environments, by key. Never destroyed, as threads may outlast the process's
// static objects.
struct Names {
  std::mutex lock;
  uint64_t last = 0;
  std::unordered_map<uint64_t, std::weak_ptr<Machine>> machines;
};

Names& names() {
  static auto* names = new Names();
  return *names;
}

uint64_t newKey() {
  std::lock_guard<std::mutex> guard(names().lock);
  return ++names().last;
}

}  // namespace

int Machine::create(const std::shared_ptr<File>& file, uint64_t maxRam, std::shared_ptr<Machine>* machine) {
  abi::nvmm_ioc_machine_create argument = {};
  int error;
  {
    const Kicker::Yield yield;
    error = file->ioctl(abi::NVMM_IOC_MACHINE_CREATE, &argument);
  }
  if (error != 0) return error;
  machine->reset(new Machine(file, argument.machid, maxRam));
  {
    std::lock_guard<std::mutex> guard(names().lock);
    names().machines.emplace((*machine)->key(), *machine);
  }
  {
    std::lock_guard<std::mutex> guard(file->machinesLock_);
    if (!file->closing_) {
      addTo(file->machines_, *machine);
      return netbsd::kOK;
    }
  }
  machine->reset();
  return netbsd::kBADF;
}

Machine::Machine(std::shared_ptr<File> file, uint32_t id, uint64_t maxRam)
    : file_(std::move(file)), id_(id), maxRam_(maxRam), key_(newKey()) {}

std::shared_ptr<Machine> Machine::find(uint64_t key) {
  std::lock_guard<std::mutex> guard(names().lock);
  const auto found = names().machines.find(key);
  return found == names().machines.end() ? nullptr : found->second.lock();
}

Machine::~Machine() {
  {
    std::lock_guard<std::mutex> guard(names().lock);
    names().machines.erase(key_);
  }
  destroy();
  for (const auto& [base, size] : orphans_) munmap(base, size);
}

int Machine::destroy() {
  std::lock_guard<std::mutex> once(destroyLock_);
  {
    std::unique_lock<std::shared_mutex> guard(ioctlLock_);
    if (destroyed()) return netbsd::kOK;
    status_->destroyed = 1;
  }
  std::vector<std::weak_ptr<Vcpu>> vcpus;
  std::vector<Area> areas;  // may hold the last reference to a memory, which needs the lock to go
  {
    std::lock_guard<std::mutex> guard(lock_);
    vcpus.swap(vcpus_);
    areas.swap(areas_);
    status_->generation++;
  }
  for (const auto& weak : vcpus) {
    if (const auto vcpu = weak.lock()) vcpu->retire();
  }
  abi::nvmm_ioc_machine_destroy argument = {id_};
  const int error = file_->ioctl(abi::NVMM_IOC_MACHINE_DESTROY, &argument);
  return error == netbsd::kBADF ? netbsd::kOK : error;  // closed by another thread meanwhile, which destroys it as well
}

int Machine::configure(uint64_t op) {
  abi::nvmm_ioc_machine_configure argument = {id_, op, nullptr};
  return ioctl(abi::NVMM_IOC_MACHINE_CONFIGURE, &argument);
}

int Machine::mapGpa(const Area& area) {
  std::lock_guard<std::mutex> guard(lock_);
  if (area.memory->freed()) return netbsd::kINVAL;
  const bool overlaps = std::any_of(areas_.begin(), areas_.end(), [&](const Area& other) {
    return area.gpa < other.gpa + other.size && other.gpa < area.gpa + area.size;
  });
  if (overlaps) return netbsd::kEXIST;
  const uint64_t hva = reinterpret_cast<uintptr_t>(area.memory->base()) + area.offset;
  abi::nvmm_ioc_gpa_map argument = {id_, hva, area.gpa, area.size, area.prot};
  const int error = ioctl(abi::NVMM_IOC_GPA_MAP, &argument);
  if (error != 0) return error;
  areas_.push_back(area);
  status_->generation++;
  return netbsd::kOK;
}

int Machine::unmap(const Area& area) {
  // The driver cannot unmap the very last page: it stays visible to the guest.
  const uint64_t size = std::min(area.size, maxRam_ - abi::kPageSize - area.gpa);
  if (size == 0) return netbsd::kOK;
  abi::nvmm_ioc_gpa_unmap argument = {id_, area.gpa, size};
  return ioctl(abi::NVMM_IOC_GPA_UNMAP, &argument);
}

int Machine::unmapGpa(uint64_t gpa, uint64_t size) {
  Area unmapped;  // released after the lock, see destroy()
  std::lock_guard<std::mutex> guard(lock_);
  const auto found = std::find_if(areas_.begin(), areas_.end(), [&](const Area& area) {
    return area.gpa == gpa && (size == 0 || area.size == size);
  });
  if (found == areas_.end()) return netbsd::kSRCH;
  const int error = unmap(*found);
  if (error != 0) return error;
  unmapped = std::move(*found);
  areas_.erase(found);
  status_->generation++;
  return netbsd::kOK;
}

void Machine::forget(const Memory& memory) {
  const auto end = std::remove_if(areas_.begin(), areas_.end(), [&](const Area& area) {
    return area.memory.get() == &memory && (unmap(area), true);
  });
  areas_.erase(end, areas_.end());
  status_->generation++;
}

std::vector<Area> Machine::areas() {
  std::lock_guard<std::mutex> guard(lock_);
  return areas_;
}

std::shared_ptr<Memory> Machine::memory(uint32_t id) {
  for (const Area& area : areas()) {
    if (area.memory->id() == id) return area.memory;
  }
  return nullptr;
}

std::shared_ptr<Vcpu> Machine::vcpu(uint32_t id) {
  std::lock_guard<std::mutex> guard(lock_);
  for (const auto& weak : vcpus_) {
    auto vcpu = weak.lock();
    if (vcpu && vcpu->id() == id && !vcpu->destroyed()) return vcpu;
  }
  return nullptr;
}

int Machine::ioctl(uint32_t request, void* argument) {
  std::shared_lock<std::shared_mutex> guard(ioctlLock_);
  return destroyed() ? netbsd::kNOENT : file_->ioctl(request, argument);
}

int Machine::add(const std::shared_ptr<Vcpu>& vcpu) {
  std::lock_guard<std::mutex> guard(lock_);
  if (destroyed()) return netbsd::kNOENT;
  addTo(vcpus_, vcpu);
  return netbsd::kOK;
}

int Machine::exclusively(const std::function<int()>& request) {
  std::lock_guard<std::mutex> guard(lock_);
  exclusive_ = true;  // before the look at the VCPUs, as each of them claims itself before it looks at this
  const bool busy = std::any_of(vcpus_.begin(), vcpus_.end(), [](const auto& weak) {
    const auto vcpu = weak.lock();
    return vcpu && vcpu->running();
  });
  const int error = busy ? netbsd::kBUSY : request();
  exclusive_ = false;
  return error;
}

void Machine::waitForExclusive() { std::lock_guard<std::mutex> guard(lock_); }

}  // namespace nvmm
