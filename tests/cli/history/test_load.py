"""x."""
import time
from broker.cli.history.load import integrated, stored
from broker.cli.history.play import played

async def test_x(house, owner, world, keys):
    t=time.time()
    history = await played(world, days=60)
    print("played", time.time()-t, len(history.kept.actions), len(history.kept.entries)); t=time.time()
    await stored(owner, history, key=keys.entry)
    print("stored", time.time()-t); t=time.time()
    await integrated(house.database, keys.entry)
    print("integrated", time.time()-t)
    for q in ("select tool,state,code,decision,count(*),sum(amount) from action group by 1,2,3,4 order by 1,5 desc","select state,count(*) from approval group by 1","select rule_id,span,count(*),sum(posted),max(window_start) from budget group by 1,2", "select state,count(*) from reservation group by 1","select count(*) from audit_entry", "select count(*) from audit_refused"):
        for r in await owner.rows(q): print(dict(r))
