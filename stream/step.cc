#include "stream/step.h"

namespace segmentd {

void Step::write(const Write& write) {
  if (!status_.ok()) return;
  if (!begun_) {
    status_ = transactions_.begin();
    if (!status_.ok()) return;
    begun_ = true;
  }
  status_ = transactions_.write(write);
  ++records_;
  bytes_ += static_cast<int64_t>(write.key.size() + write.value.size());
}

CommitResult Step::commit(absl::Span<const std::pair<Partition, Offset>> input_offsets,
                          std::string* why) {
  if (!status_.ok()) {
    *why = status_.ToString();
    if (begun_) transactions_.abort();
    clear();
    return CommitResult::kAborted;
  }
  const CommitResult result =
      begun_ ? transactions_.commit(input_offsets, why) : CommitResult::kCommitted;
  clear();
  return result;
}

void Step::abort() {
  if (begun_) transactions_.abort();
  clear();
}

void Step::clear() {
  begun_ = false;
  records_ = 0;
  bytes_ = 0;
  status_ = absl::OkStatus();
}

}  // namespace segmentd
