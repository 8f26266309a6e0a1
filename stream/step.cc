#include "stream/step.h"

namespace segmentd {

void Step::write(const Write& write) {
  if (!status_.ok()) return;
  if (held_) {
    keep(write);
  } else {
    put(write);
  }
  ++records_;
  bytes_ += static_cast<int64_t>(write.key.size() + write.value.size());
}

void Step::put(const Write& write) {
  if (!status_.ok()) return;
  if (!begun_) {
    status_ = transactions_.begin();
    if (!status_.ok()) return;
    begun_ = true;
  }
  status_ = transactions_.write(write);
}

void Step::keep(const Write& write) {
  kept_.push_back({.topic = write.topic,
                   .partition = write.partition,
                   .has_key = write.has_key,
                   .has_value = write.has_value,
                   .key_bytes = write.key.size(),
                   .value_bytes = write.value.size(),
                   .headers = write.headers.size()});
  kept_bytes_.append(write.key).append(write.value);
  for (const HeaderView& header : write.headers) {
    kept_headers_.push_back({header.name.size(), header.value.size(), header.has_value});
    kept_bytes_.append(header.name).append(header.value);
  }
}

void Step::release() {
  held_ = false;
  std::string_view bytes = kept_bytes_;
  const auto take = [&bytes](size_t size) {
    const std::string_view taken = bytes.substr(0, size);
    bytes.remove_prefix(size);
    return taken;
  };
  size_t next_header = 0;
  std::vector<HeaderView> headers;
  for (const Kept& kept : kept_) {
    Write write{.topic = kept.topic,
                .partition = kept.partition,
                .has_key = kept.has_key,
                .has_value = kept.has_value};
    write.key = take(kept.key_bytes);
    write.value = take(kept.value_bytes);
    headers.clear();
    for (size_t i = 0; i < kept.headers; ++i) {
      const KeptHeader& header = kept_headers_[next_header++];
      const std::string_view name = take(header.name_bytes);
      headers.push_back(
          {.name = name, .value = take(header.value_bytes), .has_value = header.has_value});
    }
    write.headers = headers;
    put(write);
  }
  kept_.clear();
  kept_headers_.clear();
  kept_bytes_.clear();
}

CommitResult Step::commit(absl::Span<const std::pair<Partition, Offset>> input_offsets,
                          std::string* why) {
  release();
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
  held_ = false;
  kept_.clear();
  kept_headers_.clear();
  kept_bytes_.clear();
  begun_ = false;
  records_ = 0;
  bytes_ = 0;
  status_ = absl::OkStatus();
}

}  // namespace segmentd
