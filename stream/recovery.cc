#include "stream/recovery.h"

#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "fmt/format.h"

#include "state/changelog_codec.h"
#include "state/image_parts.h"
#include "state/user_codec.h"

namespace segmentd {
namespace {

absl::Status Named(const absl::Status& status, Partition partition, std::string_view key) {
  return absl::Status(status.code(),
                      fmt::format("changelog of partition {}, record with key {:?}: {}", partition,
                                  key, std::string(status.message())));
}

absl::Status TakeUser(std::string_view id, std::optional<std::string_view> value,
                      ImagePartReader& parts, Restored& restored) {
  StoredUser& user = restored.users->find_or_create(id);
  if (user.index() == restored.included.size()) restored.included.emplace_back();
  // A user is never taken away; a tombstone would only say that there is no image.
  user.state = UserState();
  restored.included[user.index()] = Offset();
  if (!value) return absl::OkStatus();
  const auto image = parts.take(id, *value);
  if (!image.ok()) return image.status();
  if (!*image) return absl::OkStatus();
  absl::Status status = ParseUserImage(**image, &user.state, &restored.included[user.index()]);
  if (status.ok()) restored.users->mark_saved(user, (*image)->size());
  return status;
}

absl::Status Take(std::string_view key, std::optional<std::string_view> value,
                  ImagePartReader& parts, Restored& restored) {
  absl::StatusOr<ChangelogKey> parsed = ParseChangelogKey(key);
  if (!parsed.ok()) return parsed.status();
  switch (parsed->kind) {
    case ChangelogKind::kUser:
      return TakeUser(parsed->user, value, parts, restored);
    case ChangelogKind::kImagePart:
      return parts.take_part(parsed->user, parsed->part, value);
    case ChangelogKind::kDefinition: {
      if (!value) {
        restored.definitions.free(parsed->slot);
        return absl::OkStatus();
      }
      auto definition = ParseAppliedDefinition(parsed->slot, *value);
      if (!definition.ok()) return definition.status();
      restored.definitions.restore(*std::move(definition));
      return absl::OkStatus();
    }
    case ChangelogKind::kTask: {
      if (!value) return absl::DataLossError("the task record was deleted");
      auto record = ParseTaskRecord(*value);
      if (!record.ok()) return record.status();
      restored.record = *std::move(record);
      return absl::OkStatus();
    }
  }
  return absl::InternalError("unknown kind");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Restored>> ReadChangelog(Changelog& changelog, Partition partition,
                                                        const std::atomic<bool>& cancelled,
                                                        TaskMetrics& metrics) {
  auto restored = std::make_unique<Restored>();
  restored->users = std::make_unique<UserStore>();
  ImagePartReader parts;
  const absl::Status status = changelog.read(
      partition,
      [&](std::string_view key, std::optional<std::string_view> value) -> absl::Status {
        if (cancelled.load(std::memory_order_relaxed)) {
          return absl::CancelledError("the partition was taken away");
        }
        absl::Status taken = Take(key, value, parts, *restored);
        return taken.ok() ? taken : Named(taken, partition, key);
      },
      [&](int64_t offset, int64_t end) {
        metrics.restored_offset.set(offset);
        metrics.restore_end_offset.set(end);
      });
  if (!status.ok()) return status;
  if (const absl::Status whole = parts.finish(); !whole.ok()) {
    return absl::Status(whole.code(), fmt::format("changelog of partition {}: {}", partition,
                                                  std::string(whole.message())));
  }
  return restored;
}

}  // namespace segmentd
