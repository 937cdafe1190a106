-- Lines that all replicas read.
--
-- KEYS: the chronicle, a stream
-- ARGV: 1 how many of the newest are kept, about; then the lines

for at = 2, #ARGV do
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 't', ARGV[at])
end
