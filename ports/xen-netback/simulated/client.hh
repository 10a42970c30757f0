// SPDX-License-Identifier: BSD-3-Clause
// A process's connection to a simulated hypervisor, and what every kind of client makes of it: the
// store, ends of event channels, faults of copies. What only a backend, a guest or the tool stack
// does is in files of their own.
#pragma once

#include "ports/xen-netback/simulated/faults.hh"
#include "ports/xen-netback/simulated/store_tree.hh"
#include "ports/xen-netback/simulated/wire.hh"

#include <array>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

namespace strait::xen::simulated {

// Requests are answered one after the other; any thread may ask, and waits. Once the server is
// gone, or has not answered for 30 s, every request fails.
class client {
public:
    // Who is connecting. With `create`, a domain that does not exist is made, of that layout.
    struct identity {
        domain_id domain;
        bool create{false};
        memory_layout layout{};
    };
    [[nodiscard]] static result<std::shared_ptr<client>> connect(const std::string& socket,
                                                                 identity who);
    client(const client&) = delete;
    client& operator=(const client&) = delete;

    struct answer {
        int code{0};     // errno; 0: done
        std::string why; // a sentence, when it is not
        std::vector<std::byte> message{};
        wire::reader fields{}; // of the message
        std::array<file_descriptor, wire::most_descriptors> descriptors{};
    };
    [[nodiscard]] answer ask(const wire::writer& request);
    // The same for what has an answer without fields.
    result<void> tell(const wire::writer& request);

    [[nodiscard]] domain_id own_domain() const noexcept { return domain_; }
    [[nodiscard]] result<domain_memory> memory(domain_id d);
    // Readable when there is an event.
    [[nodiscard]] int events() const noexcept { return events_.get(); }
    [[nodiscard]] std::optional<watch_event> next_event();
    // The server's faults of copies, now and whenever they change; called by next_event(), too.
    void on_faults(std::function<void(const faults&)> hear);

private:
    client(file_descriptor socket, domain_id domain) : socket_{std::move(socket)}, domain_{domain}
    {}

    file_descriptor socket_;
    file_descriptor events_;
    domain_id domain_;
    std::mutex mutex_;
    bool broken_{false};
    faults faults_;
    std::function<void(const faults&)> hear_;
};

class simulated_store final : public xen::store {
public:
    explicit simulated_store(std::shared_ptr<client> c) : client_{std::move(c)} {}

    [[nodiscard]] result<std::optional<std::string>>
    read(const std::string& path, transaction t = transaction::none) override;
    [[nodiscard]] result<std::optional<std::vector<std::string>>>
    list(const std::string& path, transaction t = transaction::none) override;
    result<void> write(const std::string& path, std::string_view value,
                       transaction t = transaction::none) override;
    result<void> remove(const std::string& path, transaction t = transaction::none) override;
    [[nodiscard]] result<transaction> begin() override;
    [[nodiscard]] result<bool> commit(transaction t) override;
    void abandon(transaction t) noexcept override;
    result<void> watch(const std::string& path, const std::string& token) override;
    void unwatch(const std::string& path, const std::string& token) noexcept override;
    [[nodiscard]] int descriptor() const noexcept override { return client_->events(); }
    [[nodiscard]] std::optional<watch_event> next_event() override { return client_->next_event(); }

    // Beyond the seam. The first of the permissions is the owner's.
    result<void> make_folder(const std::string& path, transaction t = transaction::none);
    [[nodiscard]] result<permissions> get_permissions(const std::string& path,
                                                      transaction t = transaction::none);
    result<void> set_permissions(const std::string& path, const permissions& p,
                                 transaction t = transaction::none);

private:
    std::shared_ptr<client> client_;
};

// An end of a channel: two counters of the kernel's. The server hears when it goes.
class channel_end final : public event_channel {
public:
    // `goodbye` is told to the server at the end; `sent` counts notifications, and may be null.
    channel_end(std::shared_ptr<client> c, file_descriptor ours, file_descriptor theirs,
                wire::writer goodbye, std::atomic<std::uint64_t>* sent)
        : client_{std::move(c)},
          ours_{std::move(ours)},
          theirs_{std::move(theirs)},
          goodbye_{std::move(goodbye)},
          sent_{sent}
    {}
    ~channel_end() override;
    channel_end(const channel_end&) = delete;
    channel_end& operator=(const channel_end&) = delete;

    void notify() noexcept override;
    [[nodiscard]] int descriptor() const noexcept override { return ours_.get(); }
    [[nodiscard]] bool take() noexcept override;

private:
    std::shared_ptr<client> client_;
    file_descriptor ours_;
    file_descriptor theirs_;
    wire::writer goodbye_;
    std::atomic<std::uint64_t>* sent_;
};

} // namespace strait::xen::simulated
