// SPDX-License-Identifier: BSD-3-Clause
// Sectors, names, and what becomes of those that were not synced.
#include "cut_disk.hh"

#include <algorithm>

namespace strait::control::testing_support {

using ports::error;
using ports::result;

namespace {

constexpr std::size_t sector = 512;

error no_room(const std::string& name)
{
    return {"/store/" + name + " cannot be made longer: No space left on device"};
}

} // namespace

class cut_file : public store_file {
public:
    cut_file(cut_disk& disk, std::uint64_t life, std::string name,
             std::shared_ptr<cut_disk::node> node)
        : disk_{disk}, life_{life}, name_{std::move(name)}, node_{std::move(node)}
    {}

    result<void> allocate(std::uint64_t bytes) override
    {
        const std::lock_guard lock{disk_.mutex_};
        if (auto on = disk_.step(life_); on.has_error()) {
            return on;
        }
        if (bytes > node_->allocated && disk_.used() - node_->allocated + bytes > disk_.room_) {
            return no_room(name_);
        }
        node_->allocated = std::max(node_->allocated, bytes);
        if (node_->now.size() < bytes) {
            node_->now.resize(bytes);
            node_->unsynced.push_back({bytes - 1, std::string(1, '\0')});
        }
        return {};
    }

    result<void> write(std::uint64_t at, std::string_view text) override
    {
        const std::lock_guard lock{disk_.mutex_};
        if (auto on = disk_.step(life_); on.has_error()) {
            return on;
        }
        const std::uint64_t end = at + text.size();
        if (end > node_->allocated) {
            if (disk_.used() - node_->allocated + end > disk_.room_) {
                return no_room(name_);
            }
            node_->allocated = end;
        }
        node_->unsynced.push_back({at, std::string{text}});
        cut_disk::apply(node_->now, node_->unsynced.back());
        return {};
    }

    result<void> sync() override
    {
        const std::lock_guard lock{disk_.mutex_};
        if (auto on = disk_.step(life_); on.has_error()) {
            return on;
        }
        if (disk_.fails_) {
            return error{"/store/" + name_ + " cannot be written: Input/output error"};
        }
        node_->synced = node_->now;
        node_->unsynced.clear();
        return {};
    }

private:
    cut_disk& disk_;
    std::uint64_t life_;
    std::string name_;
    std::shared_ptr<cut_disk::node> node_;
};

class cut_files : public store_files {
public:
    cut_files(cut_disk& disk, std::uint64_t life) : disk_{disk}, life_{life} {}

    std::string path() const override { return "/store"; }
    result<std::vector<std::string>> list() override
    {
        const std::lock_guard lock{disk_.mutex_};
        std::vector<std::string> out{".", ".."};
        for (const auto& [name, n] : disk_.now_) {
            out.push_back(name);
        }
        return out;
    }
    result<std::string> read(const std::string& name) override
    {
        const std::lock_guard lock{disk_.mutex_};
        return {boost::system::in_place_value, disk_.now_.at(name)->now};
    }
    result<std::unique_ptr<store_file>> create(const std::string& name) override
    {
        const std::lock_guard lock{disk_.mutex_};
        if (auto on = disk_.step(life_); on.has_error()) {
            return on.error();
        }
        auto node = std::make_shared<cut_disk::node>();
        disk_.now_[name] = node;
        return std::unique_ptr<store_file>{std::make_unique<cut_file>(disk_, life_, name, node)};
    }
    result<void> rename(const std::string& from, const std::string& to) override
    {
        const std::lock_guard lock{disk_.mutex_};
        if (auto on = disk_.step(life_); on.has_error()) {
            return on;
        }
        disk_.now_[to] = disk_.now_.at(from);
        disk_.now_.erase(from);
        return {};
    }
    result<void> remove(const std::string& name) override
    {
        const std::lock_guard lock{disk_.mutex_};
        if (auto on = disk_.step(life_); on.has_error()) {
            return on;
        }
        disk_.now_.erase(name);
        return {};
    }
    result<void> sync_folder() override
    {
        const std::lock_guard lock{disk_.mutex_};
        if (auto on = disk_.step(life_); on.has_error()) {
            return on;
        }
        disk_.synced_ = disk_.now_;
        return {};
    }

private:
    cut_disk& disk_;
    std::uint64_t life_;
};

std::unique_ptr<store_files> cut_disk::files()
{
    return locked([this] { return std::make_unique<cut_files>(*this, life_); });
}

result<void> cut_disk::step(std::uint64_t life)
{
    if (life != life_ || steps_++ >= cut_) {
        return error{"/store has no power"};
    }
    return {};
}

std::uint64_t cut_disk::used() const
{
    std::uint64_t all = 0;
    for (const auto& [name, n] : now_) {
        all += n->allocated;
    }
    return all;
}

void cut_disk::apply(std::string& to, const write& w)
{
    if (to.size() < w.at + w.text.size()) {
        to.resize(w.at + w.text.size());
    }
    to.replace(w.at, w.text.size(), w.text);
}

void cut_disk::power_on(loses what, std::mt19937& random)
{
    const std::lock_guard lock{mutex_};
    ++life_;
    const auto lucky = [&] {
        return what == loses::nothing || (what == loses::some && random() % 2 == 0);
    };
    names after = synced_;
    for (const auto& [name, n] : now_) {
        const auto before = synced_.find(name);
        if ((before == synced_.end() || before->second != n) && lucky()) {
            after[name] = n;
        }
    }
    for (const auto& [name, n] : synced_) {
        if (!now_.contains(name) && lucky()) {
            after.erase(name);
        }
    }
    for (auto& [name, n] : after) {
        std::string text = n->synced;
        for (const write& w : n->unsynced) {
            for (std::size_t at = 0; at < w.text.size(); at += sector) {
                if (lucky()) {
                    apply(text, {w.at + at, w.text.substr(at, sector)});
                }
            }
        }
        n = std::make_shared<node>(node{text, text, {}, text.size()});
    }
    now_ = after;
    synced_ = std::move(after);
    steps_ = 0;
    cut_ = std::numeric_limits<std::uint64_t>::max();
    fails_ = false;
}

std::map<std::string, std::string> cut_disk::contents()
{
    const std::lock_guard lock{mutex_};
    std::map<std::string, std::string> out;
    for (const auto& [name, n] : now_) {
        out.emplace(name, n->now);
    }
    return out;
}

void cut_disk::set(const std::string& name, std::string text)
{
    const std::lock_guard lock{mutex_};
    const std::uint64_t size = text.size();
    const auto n = std::make_shared<node>(node{text, text, {}, size});
    now_[name] = n;
    synced_[name] = n;
}

} // namespace strait::control::testing_support
