#include "descriptors.h"

#include <algorithm>

namespace nvmm::mock {

Descriptors::Descriptors(Descriptors& parent) : files_(parent.files_) {
  std::lock_guard<std::mutex> guard(files_->mutex);
  for (size_t i = 0; i < table_.size(); i++) {
    const Descriptor& from = parent.table_[i];
    if (!from.file) continue;
    from.file->descriptors++;
    table_[i].file = from.file;
    table_[i].closeOnExec = from.closeOnExec;
    table_[i].owner.store(from.owner.load(std::memory_order_relaxed), std::memory_order_release);
  }
}

int Descriptors::install(const std::shared_ptr<OpenFile>& file, bool closeOnExec, int* fd) {
  const auto free = std::find_if(table_.begin(), table_.end(), [](const Descriptor& d) { return !d.file; });
  if (free == table_.end()) return netbsd::kMFILE;
  file->descriptors++;
  free->file = file;
  free->closeOnExec = closeOnExec;
  free->owner.store(file->cutOff ? kCutOff : file->owner, std::memory_order_release);
  *fd = kFirst + static_cast<int>(free - table_.begin());
  return netbsd::kOK;
}

int Descriptors::open(int flags, int32_t pid, int* fd) {
  std::lock_guard<std::mutex> guard(files_->mutex);
  const bool root = flags & kWriteOnly;  // the driver looks at this one bit
  const OpenFile file = {root ? kRootOwner : files_->nextOwner++, root ? 0 : pid, flags & ~kCloexec, 0, false};
  return install(std::make_shared<OpenFile>(file), flags & kCloexec, fd);
}

int Descriptors::duplicate(int fd, int* duplicate) {
  std::lock_guard<std::mutex> guard(files_->mutex);
  if (!valid(fd) || !table_[fd - kFirst].file) return netbsd::kBADF;
  return install(table_[fd - kFirst].file, false, duplicate);
}

int Descriptors::close(int fd, uint64_t* lastOf) {
  std::lock_guard<std::mutex> guard(files_->mutex);
  *lastOf = kNobody;
  if (!valid(fd) || !table_[fd - kFirst].file) return netbsd::kBADF;
  Descriptor& descriptor = table_[fd - kFirst];
  const uint64_t owner = descriptor.owner.exchange(kNobody, std::memory_order_acq_rel);
  if (--descriptor.file->descriptors == 0) *lastOf = owner;
  descriptor.file.reset();
  return netbsd::kOK;
}

void Descriptors::cutOff() {
  std::lock_guard<std::mutex> guard(files_->mutex);
  for (Descriptor& descriptor : table_) {
    if (!descriptor.file) continue;
    descriptor.file->cutOff = true;
    descriptor.owner.store(kCutOff, std::memory_order_release);
  }
}

std::vector<int> Descriptors::numbers() {
  std::lock_guard<std::mutex> guard(files_->mutex);
  std::vector<int> open;
  for (size_t i = 0; i < table_.size(); i++) {
    if (table_[i].file) open.push_back(kFirst + static_cast<int>(i));
  }
  return open;
}

std::shared_ptr<OpenFile> Descriptors::file(int fd) {
  std::lock_guard<std::mutex> guard(files_->mutex);
  return valid(fd) ? table_[fd - kFirst].file : nullptr;
}

bool Descriptors::isConnected(const OpenFile& file) {
  std::lock_guard<std::mutex> guard(files_->mutex);
  return file.descriptors != 0 && !file.cutOff;
}

}  // namespace nvmm::mock
